"""How columns are called in CSV files that the page saves: as on the page, with the unit in brackets.

An interval has two columns of its own: `gain low (nats/token)` and `gain high (nats/token)`. A value that follows the
page's unit has a column for each unit that the page offers.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppldelta.family import Family
from ppldelta.reporting.blocks import Json
from ppldelta.reporting.units import COLUMNS, DELTA, SHORT_UNITS

_NATS, _BITS = SHORT_UNITS["nats"], SHORT_UNITS["bpb"]
_TAIL = {"p50": "median", "p90": "90 %", "p95": "95 %", "p99": "99 %", "p999": "99.9 %", "max": "greatest"}

NAMES: dict[str, tuple[str, str]] = {
    **{name: (name, "") for name in ("family", "model", "document", "category", "verdict", "prompt", "group", "side")},
    "ppl_ref": ("perplexity of the reference", ""),
    "ppl_cmp": ("perplexity of the model", ""),
    "bpb_ref": ("bits per byte of the reference", ""),
    "bpb_cmp": ("bits per byte of the model", ""),
    **{column: (name, _NATS) for name, column in zip(("gain", "loss"), COLUMNS["nats"], strict=True)},
    **{column: (name, _BITS) for name, column in zip(("gain", "loss"), COLUMNS["bpb"], strict=True)},
    DELTA["nats"]: ("net", _NATS),
    DELTA["bpb"]: ("net", _BITS),
    "damage": ("damage", _NATS),
    "damage_bpb": ("damage", _BITS),
    "kld": ("KL divergence", _NATS),
    **{f"kld_{level}": (f"KL divergence {words}", "nats") for level, words in _TAIL.items()},
    "same_top": ("same top", "part of the tokens"),
    "dp_rms": ("change of probability RMS", "probability"),
    "ppl_ratio": ("perplexity ratio", ""),
    "odds_ref": ("log-odds of the reference", "nats"),
    "odds_cmp": ("log-odds of the model", "nats"),
    "change": ("change", "nats"),
    "n_documents": ("documents", ""),
    "n_scored": ("tokens scored", ""),
    "n_bytes": ("bytes compared", ""),
    "size_bytes": ("size of the tensors", "bytes"),
    "bits_per_weight": ("bits per weight", ""),
    "bytes_per_token": ("length of a token", "bytes"),
}
"""Column → its words and its unit, "" for a name, a number of things or a ratio."""


def for_scripts(*, bits: bool) -> dict[str, list[str]]:
    """The names, which on a page in bits per byte count spans."""
    return {column: list(name) for column, name in (NAMES | ({"n_scored": ("spans", "")} if bits else {})).items()}


def facts_of_references(families: Sequence[Family]) -> list[Json]:
    """What a row of each family's reference says beside what the rows of its models have."""
    return [
        {
            "model": family.ref.label,
            "size_bytes": family.ref.size_bytes,
            "bits_per_weight": family.ref.bits_per_weight,
            "bytes_per_token": family.ref.bytes_per_token,
        }
        for family in families
    ]
