"""The scripts of a page, and the policy by which it runs these and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

SCRIPTS = (
    "blocks.js",
    "invisible.js",
    "format.js",
    "characters.js",
    "state.js",
    "csv.js",
    "address.js",
    "plots.js",
    "exports.js",
    "cover.js",
    "copy.js",
    "planes.js",
    "keys.js",
    "curves.js",
    "rows.js",
    "details.js",
    "opened.js",
    "preview.js",
    "text.js",
    "strips.js",
    "minimap.js",
    "reader.js",
    "passages_within.js",
    "passages.js",
    "prompts.js",
    "kinds.js",
    "tables.js",
    "tour.js",
    "main.js",
)
"""The page's scripts, in the order in which they run."""


def policy(scripts: Sequence[str], *, folder: bool) -> str:
    """What a page may load and run: these scripts, and with `folder` the data files beside it."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    beside = " 'self' file:" if folder else ""  # the data files; a page opened from disk has no origin to be 'self'
    return (  # plotly sets style attributes and exports pictures by way of data: and blob: addresses
        f"default-src 'none'; script-src {hashes}{beside}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def resource(name: str) -> str:
    """The text of a file in `page/`."""
    return resources.files("ppldelta.reporting").joinpath("page").joinpath(name).read_text(encoding="utf-8")
