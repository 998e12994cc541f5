"""One model, many windows → arrays of log-probabilities."""
