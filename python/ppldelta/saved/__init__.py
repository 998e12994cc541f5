"""A result on disk."""
