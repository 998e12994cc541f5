"""Names as a page shows them: characters that cannot be seen are symbols (`wording.invisible`), in all frames alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from ppldelta.family import Family
from ppldelta.wording import invisible

_NAMES = ("family", "model", "document", "category", "group", "prompt", "label", "against")


def with_symbols(
    frames: Mapping[str, pl.DataFrame], families: Sequence[Family]
) -> tuple[dict[str, pl.DataFrame], list[Family]]:
    """The same frames and families with names that can be seen; they are left as they are where all can be."""
    names = [name for family in families for name in (family.name, *(each.label for each in (family.ref, *family.cmp)))]
    for frame in frames.values():
        for column in _text_columns(frame):
            names += frame[column].drop_nulls().unique(maintain_order=True).to_list()
    new = invisible.replaced(names)
    if not new:
        return dict(frames), list(families)

    def renamed(frame: pl.DataFrame) -> pl.DataFrame:
        lists = [name for name in ("documents",) if name in frame.columns]
        return frame.with_columns(
            *(pl.col(name).replace(new) for name in _text_columns(frame)),
            *(pl.col(name).list.eval(pl.element().replace(new)) for name in lists),
        )

    return {name: renamed(frame) for name, frame in frames.items()}, [
        replace(
            family,
            name=new.get(family.name, family.name),
            ref=replace(family.ref, label=new.get(family.ref.label, family.ref.label)),
            cmp=tuple(replace(each, label=new.get(each.label, each.label)) for each in family.cmp),
        )
        for family in families
    ]


def _text_columns(frame: pl.DataFrame) -> list[str]:
    return [name for name in _NAMES if name in frame.columns and frame.schema[name] in (pl.String, pl.Categorical)]
