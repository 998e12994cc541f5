"""What a mark says when it is pointed at, in the little HTML that plotly reads."""

from __future__ import annotations

import html
import textwrap

from ppldelta.reporting.rows import Row, ends, number, text, whole
from ppldelta.reporting.units import COLUMNS, UNITS, Unit
from ppldelta.wording import numbers


def literal(name: str, width: int = 46) -> str:
    """A name as text that plotly shows letter by letter, in lines of at most `width` characters."""
    lines = textwrap.wrap(name, width, replace_whitespace=False, drop_whitespace=False) or [""]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def document(row: Row, unit: Unit) -> str:
    """A row of `schema.DOCUMENTS`: name, model, category, the numbers of the plane, perplexities, tokens."""
    category = f" · {literal(text(row, 'category'))}" if text(row, "category") else ""
    return "<br>".join(
        (
            f"<b>{literal(text(row, 'document'))}</b>",
            f"{literal(text(row, 'model'))}{category}",
            *_numbers(row, unit),
            *_divergence(row),
            _extent(row, unit),
        )
    )


def model(row: Row, unit: Unit) -> str:
    """A row of `schema.MODELS`: name, the numbers of the plane with intervals, perplexities, documents, tokens."""
    scope = f" · {literal(text(row, 'category'))}" if row["category"] is not None else ""
    return "<br>".join(
        (
            f"<b>{literal(text(row, 'model'))}</b>{scope}",
            *_numbers(row, unit),
            f"{numbers.count(whole(row, 'n_documents'))} documents, {_extent(row, unit)}",
        )
    )


def _extent(row: Row, unit: Unit) -> str:
    """How much was compared, in what the unit divides by."""
    if unit == "bpb":
        return f"{numbers.count(whole(row, 'n_bytes'))} bytes"
    return f"{numbers.count(whole(row, 'n_scored'))} scored tokens"


def ratio(row: Row, column: str) -> str:
    """A row of `schema.MODELS` and one of ppl_gain and ppl_loss."""
    name = f"mean ratio of perplexities where {'better' if column == 'ppl_gain' else 'worse'}, else 1:"
    interval = numbers.interval(*ends(row, column), 3)
    return "<br>".join(
        (
            f"<b>{literal(text(row, 'model'))}</b>",
            "all documents" if row["category"] is None else literal(text(row, "category") or "(no category)"),
            f"{name} <b>{numbers.fixed(number(row, column), 3)}</b>" + (f" ({interval})" if interval else ""),
            f"{numbers.count(whole(row, 'n_documents'))} documents",
        )
    )


def size(row: Row, column: str) -> str:
    """A row of `schema.MODELS`: name, a value (delta, damage, kld) with its interval, size, bits per weight."""
    value = number(row, column)
    digits = numbers.decimals(value)
    write = numbers.signed if column.startswith("delta") else numbers.fixed
    name = {"kld": "KL divergence", "delta": "net", "delta_bpb": "net"}.get(column, column)
    unit = UNITS["bpb" if column == "delta_bpb" else "nats"]
    bits = numbers.fixed(number(row, "bits_per_weight"), 2)
    return "<br>".join(
        (
            f"<b>{literal(text(row, 'model'))}</b>",
            f"{name} <b>{write(value, digits)}</b>{_interval(row, column, digits)} {unit}",
            f"{numbers.size(whole(row, 'size_bytes'))}, {bits} bits per weight",
        )
    )


def _numbers(row: Row, unit: Unit) -> list[str]:
    gain, loss = COLUMNS[unit]
    digits = numbers.decimals(number(row, gain), number(row, loss))
    lines = [
        f"{word} <b>{numbers.fixed(number(row, column), digits)}</b>{_interval(row, column, digits)}"
        for word, column in (("gain", gain), ("loss", loss))
    ]
    if unit == "nats":
        delta = numbers.signed(number(row, "delta"), digits)
        lines.append(f"net <b>{delta}</b>{_interval(row, 'delta', digits)}")
    else:
        ref, cmp = (numbers.fixed(number(row, f"bpb_{which}"), 3) for which in ("ref", "cmp"))
        lines.append(f"bits per byte {ref} → {cmp}")
    lines[0] += f" {UNITS[unit]}"
    if unit == "nats":
        ref, cmp = (numbers.perplexity(number(row, f"ppl_{which}")) for which in ("ref", "cmp"))
        lines.append(f"perplexity {ref} → {cmp}")
    return lines


def _divergence(row: Row) -> list[str]:
    kld, top = number(row, "kld"), number(row, "same_top")
    if not (numbers.known(kld) and numbers.known(top)):
        return []
    return [f"KL divergence {numbers.significant(kld)}, same top {numbers.percent(top)}"]


def _interval(row: Row, column: str, digits: int) -> str:
    interval = numbers.interval(*ends(row, column), digits, sign=column.startswith("delta"))
    return f" ({interval})" if interval else ""
