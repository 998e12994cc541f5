"""Synthetic results with the exact columns of `ppldelta.schema`, made token by token from a seeded generator.

Four models and 36 documents in three categories: a finetune on code, one on Spanish, a coarse quant and a
lightly touched variant. Means and intervals are those of the drawn tokens, so that every identity holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from helpers import facts
from ppldelta import schema
from ppldelta.analysis.kind_sums import kinds_by_family
from ppldelta.family import Family
from ppldelta.pages import make_page
from ppldelta.reporting.render import Page

REFERENCE = "tiny-ref.Q8_0"
CATEGORIES = ("code", "multilingual", "prose")
PREDICTABLE = {"code": 1.9, "multilingual": 2.9, "prose": 3.2}
BYTES_PER_TOKEN = {"code": 2.9, "multilingual": 2.4, "prose": 3.9}

SHIFTS: dict[str, dict[str, tuple[float, float]]] = {  # model: category: mean and spread of delta per token
    "tiny-code.Q8_0": {"code": (0.31, 0.7), "multilingual": (-0.22, 0.6), "prose": (-0.15, 0.5)},
    "tiny-spanish.Q8_0": {"code": (-0.12, 0.5), "multilingual": (0.18, 0.8), "prose": (-0.19, 0.5)},
    "tiny-ref.Q2_K": {"code": (-0.11, 0.45), "multilingual": (-0.14, 0.5), "prose": (-0.09, 0.4)},
    "tiny-touched.Q8_0": {"code": (0.001, 0.08), "multilingual": (-0.004, 0.09), "prose": (0.002, 0.08)},
}
SIZES = {
    "tiny-code.Q8_0": 3_340_000,
    "tiny-spanish.Q8_0": 3_340_000,
    "tiny-ref.Q2_K": 1_390_000,
    "tiny-touched.Q8_0": 3_340_000,
}
N_PARAMS = 3_145_728


def make(
    *,
    family: str = "tiny",
    shifts: dict[str, dict[str, tuple[float, float]]] = SHIFTS,
    per_category: int = 12,
    rename: dict[str, str] | None = None,
    seed: int = 0,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns (documents, models). `rename` puts other names in place of documents, models and categories."""
    rng = np.random.default_rng(seed)
    rename = rename or {}
    tokens: dict[str, list[dict[str, Any]]] = {model: [] for model in shifts}
    for category in CATEGORIES:
        for number in range(per_category):
            n_scored = int(rng.integers(150, 750))
            surprisal = rng.gamma(1.2, PREDICTABLE[category] / 1.2, n_scored)
            n_bytes = int(n_scored * BYTES_PER_TOKEN[category] * rng.uniform(0.9, 1.1))
            for model, by_category in shifts.items():
                mean, spread = by_category[category]
                delta = np.minimum(rng.normal(rng.normal(mean, 0.3 * spread * 0.4), spread, n_scored), surprisal)
                tokens[model].append(
                    {
                        "document": f"{category}/{number:02d}.txt",
                        "category": category,
                        "n_tokens": 2 * n_scored + 1,
                        "n_bytes": n_bytes,
                        "logp_ref": -surprisal,
                        "delta": delta,
                    }
                )
    documents = [
        {
            "family": family,
            "model": model,
            "document": one["document"],
            "category": one["category"],
            "n_tokens": one["n_tokens"],
            **_metrics([one]),
        }
        for model, of_model in tokens.items()
        for one in of_model
    ]
    models = [
        {
            "family": family,
            "model": model,
            "category": category,
            "weighting": weighting,
            "n_documents": len(chosen),
            **_interval(chosen, weighting),
            "size_bytes": SIZES.get(model, 3_340_000),
            "bits_per_weight": SIZES.get(model, 3_340_000) * 8 / N_PARAMS,
            "n_params": N_PARAMS,
        }
        for model, of_model in tokens.items()
        for category in (None, *CATEGORIES)
        for weighting in schema.WEIGHTINGS
        for chosen in [[one for one in of_model if category in (None, one["category"])]]
    ]
    replace = [pl.col(name).replace(rename) for name in ("model", "category")]
    return (
        pl.DataFrame(documents, schema=schema.DOCUMENTS).with_columns(*replace, pl.col("document").replace(rename)),
        pl.DataFrame(models, schema=schema.MODELS).with_columns(*replace),
    )


def families(models: pl.DataFrame) -> list[Family]:
    """The families that go with a frame of `make`."""
    known: dict[str, Any] = {"architecture": "llama", "size_bytes": 3_340_000, "n_params": N_PARAMS}
    return [
        facts.family(
            family,
            facts.model(REFERENCE, **known),
            [facts.model(model, **known) for model in rows["model"].unique(maintain_order=True)],
        )
        for (family,), rows in models.group_by("family", maintain_order=True)
    ]


def page(documents: pl.DataFrame, models: pl.DataFrame, **more: Any) -> Page:
    """The page of frames of `make`, without tokens; arguments of `make_page` and other frames as they are named."""
    empty = ("tokens", "pieces", "texts", "confidence", "odds", "odds_models", "kinds")
    whole = {name: pl.DataFrame(schema=getattr(schema, name.upper())) for name in empty}
    whole |= {"documents": documents, "models": models}
    whole |= {name: more.pop(name) for name in empty if name in more}
    usual: dict[str, Any] = {"signature": "", "warnings": [], "version": "0.1.0", "families": families(models)}
    read = kinds_by_family(whole["texts"], whole["pieces"])
    return make_page(whole, **{**usual, **more}, text_kinds=read)


def _metrics(chosen: list[dict[str, Any]], weighting: str = "tokens") -> dict[str, Any]:
    if weighting == "documents":
        rows = [_metrics([one]) for one in chosen]
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return {
            **means,
            "n_scored": sum(row["n_scored"] for row in rows),
            "n_bytes": sum(row["n_bytes"] for row in rows),
        }
    delta = np.concatenate([one["delta"] for one in chosen])
    logp_ref = np.concatenate([one["logp_ref"] for one in chosen])
    n, n_bytes = delta.size, sum(one["n_bytes"] for one in chosen)
    d = -delta.mean()
    gain, loss = delta[delta > 0].sum(), -delta[delta < 0].sum()
    bits = 1 / np.log(2) / n_bytes
    return {
        "n_scored": n,
        "n_bytes": n_bytes,
        "ppl_ref": float(np.exp(-logp_ref.mean())),
        "ppl_cmp": float(np.exp(-logp_ref.mean() + d)),
        "delta": -d,
        "gain": gain / n,
        "loss": loss / n,
        "ppl_gain": float(np.exp(min(d, 0))),
        "ppl_loss": float(np.exp(max(d, 0))),
        "bpb_ref": -logp_ref.sum() * bits,
        "bpb_cmp": -(logp_ref + delta).sum() * bits,
        "gain_bpb": gain * bits,
        "loss_bpb": loss * bits,
        "delta_bpb": (gain - loss) * bits,
        "damage": (gain + loss) / n,
        "damage_bpb": (gain + loss) * bits,
        "ppl_ratio": float(np.exp(d)),
    }


def _interval(chosen: list[dict[str, Any]], weighting: str) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    draws = [_metrics([chosen[i] for i in rng.integers(0, len(chosen), len(chosen))], weighting) for _ in range(40)]
    ends = {}
    for name in (name for name in schema.INTERVALS if name in draws[0]):
        low, high = np.quantile([draw[name] for draw in draws], [0.025, 0.975])
        ends |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return {**_metrics(chosen, weighting), **ends}
