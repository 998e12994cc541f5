"""Several results side by side, for one report.

Families with different tokenizers score different bytes of one corpus, and then even bits per byte compare different
texts: where families meet, only the bytes count that all of them scored.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from ppldelta import schema
from ppldelta.analysis.common import Common, common_bytes
from ppldelta.errors import LeftOut, ResultError, all_left_out
from ppldelta.reporting.distinct import distinct_names
from ppldelta.result import Result, make_result
from ppldelta.saved.folder import FRAMES
from ppldelta.wording.names import counted, printable
from ppldelta.wording.rules import COMMON_BYTES


def merge(results: list[Result], *, same_bytes: bool = True) -> Result:
    """One result that holds several: families of one name get different ones, no numbers are put together.

    Args:
        results: at least one.
        same_bytes: whether, of several families, only the bytes count that all of them scored. The numbers of documents
            and models are then those of these bytes, and a warning says how many they are.

    Raises:
        ResultError: no result is given.
    """
    if not results:
        raise ResultError("no result is given", hint="name at least one saved result")
    merged = _side_by_side(results)
    return _on_common_bytes(merged) if same_bytes and len(merged.families) > 1 else merged


def _side_by_side(results: list[Result]) -> Result:
    families = [(family, result) for result in results for family in result.families]
    names = distinct_names([family for family, _ in families], [result.folder for _, result in families])
    parts: list[Result] = []
    about: dict[str, list[str]] = {}
    at = 0
    for result in results:
        mine = names[at : at + len(result.families)]
        at += len(mine)
        parts.append(_rename_families(result, dict(zip((each.name for each in result.families), mine, strict=True))))
        for warning in result.warnings:
            about.setdefault(warning, []).extend(mine)
    return Result(
        **{name: pl.concat(part.frames[name] for part in parts) for name in FRAMES},
        families=[family for part in parts for family in part.families],
        warnings=[_about(warning, some, names) for warning, some in about.items()],
        folder=None,
        left_out=all_left_out(result.left_out for result in results),
    )


def _on_common_bytes(result: Result) -> Result:
    """The same families on the bytes that all of them scored; if there are none, as they are, and a warning says so."""
    common = common_bytes(result.tokens, result.texts, result.pieces)
    if len(common.tokens) == len(result.tokens):
        return result  # its numbers are those of these bytes
    warnings = _warnings(common)
    if not common.n_bytes:
        return replace(result, warnings=[*result.warnings, *map(str, warnings)])
    there = common.tokens.select("family", "document").unique().with_columns(pl.all().cast(pl.String))
    corpus = result.documents.select(*schema.CORPUS, *schema.GROUPS).unique(maintain_order=True)
    same = make_result(
        common.tokens,
        result.pieces,
        corpus.join(there, on=["family", "document"], how="semi", maintain_order="left"),
        result.texts.join(there, on=["family", "document"], how="semi", maintain_order="left"),
        result.families,
        warnings,
    )
    left_out = all_left_out([result.left_out, same.left_out])
    return replace(same, warnings=[*result.warnings, *same.warnings], left_out=left_out)


def _warnings(common: Common) -> list[str]:
    """What of the families' texts does not count, in sentences."""
    if not common.n_bytes:
        return ["The families have no byte in common that all of them scored: their numbers stand on different texts."]
    found: list[str] = []
    if common.missing:
        names = [printable(name) for name in common.missing]
        text = f"{counted(len(names), 'document')} left out, since not all families have the same text of it: "
        found.append(LeftOut(text + ", ".join(names[:5]) + (" …" if len(names) > 5 else ""), "document", *names))
    if any(n > common.n_bytes for n in common.n_scored.values()):
        each = ", ".join(f"{n:,} of `{printable(name)}`" for name, n in common.n_scored.items())
        found.append(f"{COMMON_BYTES}{common.n_bytes:,} bytes that all of them scored, of {each}.")
    return found


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
