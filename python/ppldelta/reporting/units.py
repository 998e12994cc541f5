"""What the reader of a page can switch, and how it is called: the unit of gain and loss, and how tokens are weighed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ppldelta.family import Family
from ppldelta.reporting.rows import Row, number

Unit = Literal["nats", "bpb"]

UNITS: dict[Unit, str] = {"nats": "nats per token", "bpb": "bits per byte"}
"""The units in words."""

SHORT_UNITS: dict[Unit, str] = {"nats": "nats/token", "bpb": "bits/byte"}
"""The units as they stand behind a number."""

COLUMNS: dict[Unit, tuple[str, str]] = {"nats": ("gain", "loss"), "bpb": ("gain_bpb", "loss_bpb")}
"""The columns of `schema.DOCUMENTS` and `schema.MODELS` that hold gain and loss in a unit."""

Weighting = Literal["tokens", "documents"]

WEIGHTINGS: dict[Weighting, str] = {"tokens": "by token", "documents": "by document"}
"""How a model's values are put together."""

UNIT_HELP: dict[Unit, str] = {
    "nats": "Natural logs per token: compares models of one tokenizer",
    "bpb": "Bits per byte of text: compares across tokenizers",
}
WEIGHTING_HELP: dict[Weighting, str] = {
    "tokens": "Every token weighs the same, in bits per byte every byte",
    "documents": "Every document weighs the same",
}


DELTA: dict[Unit, str] = {"nats": "delta", "bpb": "delta_bpb"}
"""Likewise their difference."""


DAMAGE: dict[Unit, str] = {"nats": "damage", "bpb": "damage_bpb"}
"""Likewise their sum."""


def damage_of(row: Row, unit: Unit) -> float | None:
    """Gain + loss of a row of `schema.MODELS`; results of older versions lack the column in bits per byte."""
    if unit == "nats" or number(row, DAMAGE[unit]) is not None:
        return number(row, DAMAGE[unit])
    gain, loss = (number(row, column) for column in COLUMNS[unit])
    return None if gain is None or loss is None else gain + loss


def unit_of(families: Iterable[Family]) -> Unit:
    """The unit in which some families are told of: where one of them is compared on spans of text, whose length differs
    from model to model, bits per byte."""
    return "bpb" if any(family.align == "bytes" for family in families) else "nats"


def is_within_noise(family: Family, row: Row) -> bool:
    """Whether a model lies inside its family's noise floor.

    Args:
        family: the model's.
        row: the model's row of `schema.MODELS` for all documents, every token weighing the same.
    """
    gain, loss = (number(row, column) for column in COLUMNS[unit_of([family])])
    return family.is_within_noise(gain, loss, number(row, "kld"))


Axes = Literal["linear", "root"]
"""How the axes of a plane are spaced. By square roots, small values lie apart, large ones fit, and 0 is still there."""

AXES: dict[Axes, str] = {"linear": "linear", "root": "√"}
AXES_HELP: dict[Axes, str] = {
    "linear": "Equal distances on a plane are equal differences",
    "root": "Square roots: models near the reference lie apart, and far ones fit the same plane",
}


def spaced(value: float, axes: Axes) -> float:
    """Where a gain or loss lies on the axis of a plane."""
    return math.sqrt(value) if axes == "root" and value > 0 else value


@dataclass(frozen=True)
class Choice:
    """What the reader of a page has chosen; by default what a page begins with. Category None stands for all."""

    unit: Unit = "nats"
    axes: Axes = "linear"
    weighting: Weighting = "tokens"
    category: str | None = None

    def parts(self, switches: Iterable[str]) -> list[str]:
        """The values of some switches, as the page names what depends on them; a category stands behind `=`."""
        category = "" if self.category is None else f"={self.category}"
        values = {"unit": self.unit, "axes": self.axes, "weighting": self.weighting, "category": category}
        return [values[switch] for switch in switches]
