"""Which comparisons cannot be told from their reference, in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from ppldelta.family import Family
from ppldelta.reporting.units import is_within_noise
from ppldelta.wording import numbers
from ppldelta.wording.names import counted, shown_name


def noise_notes(families: Sequence[Family], overall: pl.DataFrame) -> Iterator[str]:
    """A line for the noise floor of each family that has one, and one for the comparisons inside it.

    Args:
        families: of a result.
        overall: rows of `schema.MODELS`, one for each comparison.
    """
    for family in families:
        if (floor := family.noise_floor) is None:
            continue
        of_each = ("n_ubatch" if each.change.startswith("n_ubatch") else each.change for each in family.noise)
        digits = numbers.decimals(floor.gain, floor.loss)
        kld = "" if floor.kld is None else f", KL divergence {numbers.fixed(floor.kld, numbers.decimals(floor.kld))}"
        yield (
            f"noise floor of `{shown_name(family.ref.label)}`: gain {numbers.fixed(floor.gain, digits)}, "
            f"loss {numbers.fixed(floor.loss, digits)}{kld} (the largest with {', '.join(dict.fromkeys(of_each))}; "
            f"{counted(floor.n_scored, 'token')})"
        )
        rows = overall.filter(family=family.name)
        names = [f"`{shown_name(row['model'])}`" for row in rows.iter_rows(named=True) if is_within_noise(family, row)]
        if names:
            yield f"inside it, equal to the reference: {', '.join(names)}"
