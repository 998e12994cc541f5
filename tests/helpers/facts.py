"""Families and models of which little is known: what a test does not name is None or empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from ppldelta.family import Family, ModelFacts, Signature


def model(label: str, **known: Any) -> ModelFacts:
    unknown: dict[str, Any] = dict.fromkeys(each.name for each in fields(ModelFacts))
    return ModelFacts(**{**unknown, "kernels": (), "adapters": (), "label": label, **known})


def family(name: str, ref: ModelFacts | None = None, cmp: Iterable[ModelFacts] = (), **known: Any) -> Family:
    """A family; its reference is called as it is, if none is given."""
    more = {"signature": Signature(), "system": "", "devices": (), **known}
    return Family(name=name, ref=ref or model(name), cmp=tuple(cmp), **more)
