"""What a model gives a continuation after a context: log-probabilities of given text."""
