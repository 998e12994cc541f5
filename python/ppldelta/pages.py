"""Makes the page of a report, which begins with a card, and the files beside it, and writes them to disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from ppldelta.analysis.kind_sums import TextKinds
from ppldelta.cards.command import command
from ppldelta.cards.content import take
from ppldelta.cards.cover import cover
from ppldelta.family import Family
from ppldelta.reporting.budget import BUDGET, DEFAULT_VIEWS
from ppldelta.reporting.densities import Densities
from ppldelta.reporting.folder import remove_stale
from ppldelta.reporting.payload import make_payload
from ppldelta.reporting.provenance import provenance
from ppldelta.reporting.render import Page, render_report
from ppldelta.reporting.seen import with_symbols
from ppldelta.saved.files import write_whole

OF_THE_PAGE = ("documents", "models", "confidence", "odds", "odds_models", "kinds")
"""Frames of which the page itself is made; the others go into its data."""


def write_report(
    path: Path,
    frames: Mapping[str, pl.DataFrame],
    families: Sequence[Family],
    *,
    signature: str,
    warnings: Sequence[str],
    version: str,
    n_views: int | Literal["all"],
    text_kinds: Mapping[str, TextKinds],
) -> Path:
    """Writes a report and returns the path of its page.

    Args:
        path: a file if it ends in `.html` or `.htm`, else a folder.
        frames: those of a result, by name, also what it computes when it is first asked.
        families: of the result.
        signature: of the result.
        warnings: of the result.
        version: of ppldelta.
        n_views: documents that can be read token by token.
        text_kinds: by family the kinds of its texts.

    Raises:
        ResultError: a file cannot be written.
    """
    folder = path.suffix.lower() not in (".html", ".htm")
    page = make_page(
        frames,
        families,
        signature=signature,
        warnings=warnings,
        version=version,
        n_views=n_views,
        text_kinds=text_kinds,
        folder=folder,
    )
    for name, text in page.files.items():
        write_whole(path / name, text.encode())
    index = path / "index.html" if folder else path
    write_whole(index, page.html.encode())
    if folder:
        remove_stale(path, keep=page.files)
    return index


def make_page(
    frames: Mapping[str, pl.DataFrame],
    families: Sequence[Family],
    *,
    signature: str,
    warnings: Sequence[str],
    version: str,
    n_views: int | Literal["all"] = DEFAULT_VIEWS,
    text_kinds: Mapping[str, TextKinds],
    folder: bool = False,
) -> Page:
    """The page of a report, with its card; arguments as those of `write_report`.

    Args:
        folder: whether its data stands in files beside it.
    """
    seen, named = with_symbols(frames, families)
    payload = make_payload(
        **{name: seen[name] for name in ("tokens", "documents", "pieces", "texts", "kinds", "models")},
        families=named,
        text_kinds=[text_kinds.get(family.name) for family in families],
        n_views=n_views,
        budget=None if folder else BUDGET,
    )
    densities = Densities(seen["documents"])
    content = take(named, seen["documents"], seen["models"], version, densities, tokens=seen["tokens"])
    origins = [provenance(family, seen, command(content, family)) for family in named]
    return render_report(
        **{name: seen[name] for name in OF_THE_PAGE},
        families=named,
        signature=signature,
        warnings=warnings,
        version=version,
        payload=payload,
        cover=cover(content),
        origins=origins,
        densities=densities,
        folder=folder,
    )
