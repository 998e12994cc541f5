"""Studies: one corpus, several references with many comparisons each, written down in a file and run as a whole."""
