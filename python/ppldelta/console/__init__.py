"""What is written to a terminal, and how far a job is."""
