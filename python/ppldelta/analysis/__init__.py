"""Numbers out of token records: metrics, their uncertainty, densities for plots. Polars and NumPy only."""
