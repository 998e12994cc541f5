"""What a mark says when it is pointed at, in the little HTML that plotly reads."""

from __future__ import annotations

import html
import textwrap
from typing import Any

from ppldelta.wording import numbers

UNITS: dict[str, str] = {"nats": "nats per token", "bpb": "bits per byte"}
COLUMNS: dict[str, tuple[str, str]] = {"nats": ("gain", "loss"), "bpb": ("gain_bpb", "loss_bpb")}


def literal(name: str, width: int = 46) -> str:
    """A name as text that plotly shows letter by letter, in lines of at most `width` characters."""
    lines = textwrap.wrap(name, width, replace_whitespace=False, drop_whitespace=False) or [""]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def document(row: dict[str, Any], unit: str) -> str:
    """A row of `schema.DOCUMENTS`: name, model, category, the numbers of the plane, perplexities, tokens."""
    category = f" · {literal(row['category'])}" if row["category"] else ""
    return "<br>".join(
        (
            f"<b>{literal(row['document'])}</b>",
            f"{literal(row['model'])}{category}",
            *_numbers(row, unit),
            f"{numbers.count(row['n_scored'])} scored tokens",
        )
    )


def model(row: dict[str, Any], unit: str) -> str:
    """A row of `schema.MODELS`: name, the numbers of the plane with intervals, perplexities, documents, tokens."""
    scope = f" · {literal(row['category'])}" if row["category"] is not None else ""
    return "<br>".join(
        (
            f"<b>{literal(row['model'])}</b>{scope}",
            *_numbers(row, unit),
            f"{numbers.count(row['n_documents'])} documents, {numbers.count(row['n_scored'])} scored tokens",
        )
    )


def ratio(row: dict[str, Any], column: str) -> str:
    """A row of `schema.MODELS` and one of ppl_gain and ppl_loss."""
    interval = numbers.interval(row[f"{column}_low"], row[f"{column}_high"], 3)
    return "<br>".join(
        (
            f"<b>{literal(row['model'])}</b>",
            "all documents" if row["category"] is None else literal(row["category"] or "(no category)"),
            f"mean {column} <b>{numbers.fixed(row[column], 3)}</b>" + (f" ({interval})" if interval else ""),
            f"{numbers.count(row['n_documents'])} documents",
        )
    )


def size(row: dict[str, Any]) -> str:
    """A row of `schema.MODELS`: name, delta with its interval, size, bits per weight."""
    digits = numbers.decimals(row["delta"])
    return "<br>".join(
        (
            f"<b>{literal(row['model'])}</b>",
            f"delta <b>{numbers.signed(row['delta'], digits)}</b>{_interval(row, 'delta', digits)} {UNITS['nats']}",
            f"{numbers.size(row['size_bytes'])}, {numbers.fixed(row['bits_per_weight'], 2)} bits per weight",
        )
    )


def _numbers(row: dict[str, Any], unit: str) -> list[str]:
    gain, loss = COLUMNS[unit]
    digits = numbers.decimals(row[gain], row[loss])
    lines = [
        f"{word} <b>{numbers.fixed(row[column], digits)}</b>{_interval(row, column, digits)}"
        for word, column in (("gain", gain), ("loss", loss))
    ]
    if unit == "nats":
        lines.append(f"delta <b>{numbers.signed(row['delta'], digits)}</b>{_interval(row, 'delta', digits)}")
    else:
        lines.append(f"bits per byte {numbers.fixed(row['bpb_ref'], 3)} → {numbers.fixed(row['bpb_cmp'], 3)}")
    lines[0] += f" {UNITS[unit]}"
    lines.append(f"perplexity {numbers.perplexity(row['ppl_ref'])} → {numbers.perplexity(row['ppl_cmp'])}")
    return lines


def _interval(row: dict[str, Any], column: str, digits: int) -> str:
    text = numbers.interval(row.get(f"{column}_low"), row.get(f"{column}_high"), digits, sign=column == "delta")
    return f" ({text})" if text else ""
