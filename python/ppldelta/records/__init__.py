"""Files that llama-perplexity and its patched sibling write: a reference's log-probabilities, and records of tokens."""
