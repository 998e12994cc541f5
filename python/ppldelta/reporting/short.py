"""Which documents are too short to say anything by themselves: their marks are faint, and lists have them last."""

from __future__ import annotations

SHORT = 32
"""Scored tokens, or spans, below which a document is short."""


def short_rule(spans: bool) -> str:
    """The rule in words."""
    what = "spans" if spans else "scored tokens"
    return f"documents of fewer than {SHORT} {what} say little alone: they are faint, and last in lists"
