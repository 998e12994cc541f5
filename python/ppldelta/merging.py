"""Several results side by side, for one report."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from ppldelta.reporting.distinct import distinct_names
from ppldelta.result import Result
from ppldelta.saved.folder import FRAMES


def merge(results: list[Result]) -> Result:
    """One result that holds several: families of one name get different ones, no numbers are put together."""
    families = [(family, result) for result in results for family in result.families]
    names = distinct_names([family for family, _ in families], [result.folder for _, result in families])
    parts: list[Result] = []
    about: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    at = 0
    for result in results:
        mine = names[at : at + len(result.families)]
        at += len(mine)
        parts.append(_rename_families(result, dict(zip((each.name for each in result.families), mine, strict=True))))
        for warning in result.warnings:
            about.setdefault(warning, []).extend(mine)
        for kind, some in result.left_out.items():
            missing[kind] = list(dict.fromkeys([*missing.get(kind, []), *some]))
    return Result(
        **{name: pl.concat(part.frames[name] for part in parts) for name in FRAMES},
        families=[family for part in parts for family in part.families],
        warnings=[_about(warning, some, names) for warning, some in about.items()],
        folder=None,
        left_out=missing,
    )


def _about(warning: str, families: list[str], names: list[str]) -> str:
    """A warning, with the families that it is about if it is not about all of them."""
    some = list(dict.fromkeys(families))
    return warning if len(some) == len(names) else f"{', '.join(f'`{name}`' for name in some)}: {warning}"


def _rename_families(result: Result, names: dict[str, str]) -> Result:
    family = pl.col("family").cast(pl.String).replace(names)
    return Result(
        **{name: frame.with_columns(family.cast(FRAMES[name]["family"])) for name, frame in result.frames.items()},
        families=[replace(each, name=names[each.name]) for each in result.families],
        warnings=result.warnings,
        folder=result.folder,
        left_out=result.left_out,
    )
