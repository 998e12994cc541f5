"""The installed package, found without importing it, and how a benchmark ends: what scripts without polars need too."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_found = importlib.util.find_spec("ppldelta")
if _found is None or not _found.submodule_search_locations:
    raise SystemExit("ppldelta is not installed\nhint: run `pip install .` in the repository first")
PACKAGE = Path(_found.submodule_search_locations[0])
"""Folder of the installed package."""


def require(holds: bool, what: str) -> None:
    """Ends the benchmark where an answer is wrong: a fast wrong answer is worth nothing."""
    if not holds:
        raise SystemExit(f"wrong answer: {what}")
