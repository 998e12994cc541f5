"""How columns are called in CSV files that the page saves: as in `schema`, with the unit in brackets.

An interval has two columns of its own, as in `schema.MODELS`: `gain_low (nats/token)` and `gain_high (nats/token)`.
"""

from __future__ import annotations

from ppldelta.reporting.units import SHORT_UNITS
from ppldelta.schema import PERCENTILES

_NATS, _BITS = SHORT_UNITS["nats"], SHORT_UNITS["bpb"]

UNITS: dict[str, str] = {
    **dict.fromkeys(("gain", "loss", "delta", "damage", "kld"), _NATS),
    **dict.fromkeys(("gain_bpb", "loss_bpb", "delta_bpb", "damage_bpb", "bpb_ref", "bpb_cmp"), _BITS),
    **dict.fromkeys(PERCENTILES["kld"], "nats"),
    **dict.fromkeys(("odds_ref", "odds_cmp", "change"), "nats"),
    **dict.fromkeys(("n_bytes", "size_bytes"), "bytes"),
    "n_documents": "documents",
    "n_scored": "tokens",
    "same_top": "part of the tokens",
    "dp_rms": "probability",
    "bits_per_weight": "bits",
    "bytes_per_token": "bytes/token",
}
"""Column → unit; names, perplexities and their ratios have none."""


def for_scripts(*, bits: bool) -> dict[str, str]:
    """The units, which on a page in bits per byte count spans."""
    return UNITS | ({"n_scored": "spans"} if bits else {})
