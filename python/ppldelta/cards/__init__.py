"""One picture that says what a result says, and the same numbers for model pages and scripts; needs no browser."""
