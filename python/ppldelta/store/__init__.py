"""What is kept: log-probabilities of windows, and what was found out about models and machines."""
