"""`results.json`: the numbers of a card for scripts that collect them from model pages.

An object for each model and one for each model and document; docs/card.md lists the names, which stay. A value that is
not known, or not finite, is null. Paths of a machine are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import PurePath

import polars as pl

from ppldelta.cards.command import command, without_folders
from ppldelta.cards.content import CardModel, Content
from ppldelta.family import Family, ModelFacts
from ppldelta.reporting.blocks import Json
from ppldelta.reporting.provenance import model_name

FORMAT = 1
"""Version of the file: grows if a name goes or changes its meaning, not if one is added."""

VALUES = (
    *("n_scored", "n_bytes", "ppl_ref", "ppl_cmp", "ppl_ratio", "gain", "loss", "delta", "damage"),
    *("gain_bpb", "loss_bpb", "delta_bpb", "damage_bpb", "bpb_ref", "bpb_cmp"),
    *("kld", "kld_p50", "kld_p99", "kld_p999", "kld_max", "same_top"),
)
"""Columns of `schema.MODELS` and `schema.DOCUMENTS` that an object has, under the same names."""

_FACTS = (
    *("label", "sha256", "hub", "hub_commit", "architecture", "file_type", "n_params", "size_bytes"),
    *("bits_per_weight", "kind"),
)


def results(content: Content) -> str:
    """The file.

    Args:
        content: of the card.
    """
    families: list[Json] = [_family(content, family) for family in content.families]
    said: dict[str, Json] = {"format": FORMAT, "ppldelta": content.version, "verdict": content.said}
    said |= {"families": families, "models": [_model(model) for model in content.models]}
    said |= {"references": _references(content.reference_pairs), "documents": _documents(content)}
    return json.dumps(said, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _family(content: Content, family: Family) -> Json:
    floor = family.noise_floor
    noise: Json = None
    if floor is not None:
        noise = {"gain": floor.gain, "loss": floor.loss, "kld": floor.kld, "n_scored": floor.n_scored}
    return {
        "family": family.name,
        "reference": _facts(family.ref),
        "corpus": PurePath(family.corpus).name if family.corpus else None,
        "signature": dict(without_folders(family.signature)) or {"line": str(family.signature)},
        "date": family.date,
        "noise_floor": noise,
        "command": command(content, family),
    }


def _facts(facts: ModelFacts) -> dict[str, Json]:
    found: dict[str, Json] = {name: getattr(facts, name) for name in _FACTS}
    return {**found, "file": model_name(facts)}


def _references(reference_pairs: pl.DataFrame) -> list[Json]:
    """Every two families whose references can be compared, over all documents and over each category."""
    found: dict[tuple[str, str], list[Json]] = {}
    for row in reference_pairs.rename({"low": "difference_low", "high": "difference_high"}).to_dicts():
        a, b = row.pop("family_a"), row.pop("family_b")
        found.setdefault((a, b), []).append({name: _plain(value) for name, value in row.items()})
    return [{"family_a": a, "family_b": b, "results": rows} for (a, b), rows in found.items()]


def _model(model: CardModel) -> Json:
    """A model over all documents and over each category, with the ends of intervals."""
    known: dict[str, Json] = {"family": model.family.name, "model": model.facts.label, **_facts(model.facts)}
    del known["label"]
    known |= {"within_noise_floor": model.equal if model.family.noise else None}
    names = [*VALUES, *(f"{name}_{end}" for name in VALUES for end in ("low", "high"))]
    rows: list[Json] = [
        {"category": _plain(row["category"]), "n_documents": _plain(row["n_documents"]), **_values(row, names)}
        for row in sorted(model.rows, key=lambda row: row["category"] is not None)
    ]
    return {**known, "results": rows}


def _documents(content: Content) -> list[Json]:
    columns = [name for name in VALUES if name in content.documents.columns]
    keys = ["family", "model", "document", "category"]
    order = {(model.family.name, model.facts.label): i for i, model in enumerate(content.models)}
    rows = content.documents.select(pl.col(*keys, *columns)).to_dicts()
    rows.sort(key=lambda row: (order[row["family"], row["model"]], row["document"]))
    return [{**{key: _plain(row[key]) for key in keys}, **_values(row, columns)} for row in rows]


def _values(row: Mapping[str, object], names: list[str]) -> dict[str, Json]:
    return {name: _plain(row[name]) for name in names if name in row}


def _plain(value: object) -> Json:
    """A value of a frame as JSON has it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise TypeError(f"a frame's value must be a number or a text, got {value!r}")
