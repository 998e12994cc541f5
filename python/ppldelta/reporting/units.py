"""What the reader of a page can switch, and how it is called: the unit of gain and loss, and how tokens are weighed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ppldelta.family import Family

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


def unit_of(families: Iterable[Family]) -> Unit:
    """The unit in which some families are told of: where one of them is compared on spans of text, whose length differs
    from model to model, bits per byte."""
    return "bpb" if any(family.align == "bytes" for family in families) else "nats"


@dataclass(frozen=True)
class Choice:
    """What the reader of a page has chosen; by default what a page begins with. Category None stands for all."""

    unit: Unit = "nats"
    weighting: Weighting = "tokens"
    category: str | None = None
