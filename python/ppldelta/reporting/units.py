"""What the reader of a page can switch, and how it is called: the unit of gain and loss, and how tokens are weighed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    "tokens": "Every token weighs the same",
    "documents": "Every document weighs the same",
}


@dataclass(frozen=True)
class Choice:
    """What the reader of a page has chosen; by default what a page begins with. Category None stands for all."""

    unit: Unit = "nats"
    weighting: Weighting = "tokens"
    category: str | None = None
