"""What figures are drawn from, and whether there is anything to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from ppldelta.family import Family
from ppldelta.reporting.family_figures import FamilyFigures, style_of_all
from ppldelta.reporting.theme import Style
from ppldelta.reporting.units import SHORT_UNITS, Choice, Unit, damage_of
from ppldelta.wording import numbers


class Styled(Protocol):
    """What figures are drawn from: it says how models are told apart."""

    @property
    def style(self) -> Style:
        """Colours, by the names that models have in the figures."""
        ...


@dataclass(frozen=True)
class AllFamilies:
    """What the shared figure draws."""

    families: Sequence[Family]
    models: pl.DataFrame
    categories: Sequence[str]

    @property
    def style(self) -> Style:
        """Colours by ``family/model``."""
        return style_of_all(self.families)


def always(_: object) -> bool:
    return True


def in_bits(made: FamilyFigures) -> bool:
    return made.bits


def by_token(made: FamilyFigures) -> bool:
    """Perplexities are of tokens, and mean little where rows are spans."""
    return not made.bits


def has_sizes(made: FamilyFigures) -> bool:
    """Whether models that are no quants, and the reference, differ in size: else all stand on one upright line."""
    return made.judged and len(_sizes(made)) > 1


def bits_differ(made: FamilyFigures) -> bool:
    """Whether bits per weight say more than the size does: models must differ in their number of parameters."""
    rows = made.rows(Choice())
    return has_sizes(made) and rows["bits_per_weight"].n_unique() > 1 and rows["n_params"].n_unique() > 1


def _sizes(made: FamilyFigures) -> set[int]:
    """Sizes of the models that are no quants, with that of the reference; none if none of the models has one."""
    sizes = set(made.without_quants(made.rows(Choice()))["size_bytes"].drop_nulls().to_list())
    reference = made.reference.size_bytes
    return sizes | ({reference} if sizes and reference is not None else set())


def left_out(made: FamilyFigures) -> list[str]:
    """What planes would show that have a single mark, or all on one line, in a sentence for each."""
    said = []
    sizes, quants = _sizes(made), made.quant_rows(Choice()).filter(pl.col("size_bytes").is_not_null())
    own = int(made.reference.size_bytes is not None)
    if made.judged and len(sizes) == 1 and made.rows(Choice())["size_bytes"].count() + own > 1:
        those = "that are no quants " if quants.height else ""
        what = f"The models {those}and the reference" if own else f"The models {those}".rstrip()
        said.append(f"{what} are of one size, {numbers.size(sizes.pop())}: there is no plane of quality against it.")
    if quants.height == 1:
        row = quants.row(0, named=True)
        unit: Unit = "bpb" if made.bits else "nats"
        damage = damage_of(row, unit)
        said.append(
            f"`{row['model']}` is the only quant: a damage of {numbers.fixed(damage, numbers.decimals(damage))} "
            f"{SHORT_UNITS[unit]} at {numbers.size(row['size_bytes'])}. Of two or more, damage is drawn against size."
        )
    return said


def has_quants(made: FamilyFigures) -> bool:
    return made.quant_rows(Choice())["size_bytes"].count() > 1


def has_quant_divergence(made: FamilyFigures) -> bool:
    return has_quants(made) and made.quant_rows(Choice())["kld"].count() > 0


def diverging(made: FamilyFigures) -> bool:
    return made.diverging


def has_odds(made: FamilyFigures) -> bool:
    return not made.odds.is_empty()


def has_confidence(made: FamilyFigures) -> bool:
    return made.diverging and made.confidence is not None and not made.confidence.is_empty()
