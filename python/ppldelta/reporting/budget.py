"""How much of a corpus a report holds."""

DEFAULT_VIEWS = 200
"""Documents that can be read token by token."""

BUDGET = 14_000_000
"""Characters of all blocks in one file: with plotly.js and the figures it then stays below 25 MB."""
