"""`card.md`: what a card says as a table for a model page, with intervals and what is needed to compute it again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ppldelta.cards.command import command, without_folders
from ppldelta.cards.content import CardModel, Content
from ppldelta.cards.drawing import shown
from ppldelta.family import Family
from ppldelta.reporting.rows import Row, ends, number, whole
from ppldelta.reporting.sentences import Piece
from ppldelta.reporting.units import COLUMNS, DAMAGE, DELTA, Unit
from ppldelta.wording import numbers

Column = tuple[str, Callable[[CardModel], str]]


def markdown(content: Content) -> str:
    """The file.

    Args:
        content: of the card.
    """
    parts = [_sentence(content.headline), "![What the numbers say, as a picture](card.png)"]
    parts += [_references(content)] if len(content.reference_pairs) else []
    parts += [_table(content), _notes(content)]
    for family in content.families:
        parts.append(_origin(content, family))
    return "\n\n".join(parts) + "\n"


def code(name: str, *, cell: bool = False) -> str:
    """A name as a code span, whatever it holds; in a cell of a table its bars are escaped."""
    text = shown(name).replace("|", "\\|") if cell else shown(name)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def _sentence(pieces: Sequence[Piece]) -> str:
    return "**" + "".join(code(each.text) if each.kind in ("name", "category") else each.text for each in pieces) + "**"


def _table(content: Content) -> str:
    columns = _columns(content)
    lines = [[title for title, _ in columns], ["---", *["---:"] * (len(columns) - 1)]]
    lines += [[write(model) for _, write in columns] for model in content.models]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _references(content: Content) -> str:
    """How well each family's reference predicts its text, in bits per byte."""
    rows = [content.of(family)[0].rows for family in content.families]
    categories = list(dict.fromkeys(row["category"] for each in rows for row in each if row["category"] is not None))
    scopes = [None, *(categories if len(categories) > 1 else [])]
    heads = ["reference", "bits per byte of the text", *(code(str(each), cell=True) for each in scopes[1:])]
    lines = [heads, ["---", *["---:"] * len(scopes)]]
    for family, mine in zip(content.families, rows, strict=True):
        of_scope = {row["category"]: row for row in mine}
        cells = [_value(of_scope[each], "bpb_ref", numbers.fixed) if each in of_scope else "" for each in scopes]
        lines.append([code(family.name, cell=True), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _columns(content: Content) -> list[Column]:
    unit: Unit = "bpb" if content.spans else "nats"
    gain, loss = COLUMNS[unit]
    digits = numbers.decimals(*(number(model.overall, name) for model in content.models for name in (gain, loss)))
    columns: list[Column] = [("model", lambda model: code(model.facts.label, cell=True))]
    if len(content.families) > 1:
        columns.append(("reference", lambda model: code(model.family.ref.label, cell=True)))

    def fixed(value: float | None) -> str:
        return numbers.fixed(value, digits)

    def signed(value: float | None) -> str:
        return numbers.signed(value, digits)

    columns += [("gain", _with_ends(gain, fixed)), ("loss", _with_ends(loss, fixed))]
    columns += [("net", _with_ends(DELTA[unit], signed))]
    if any(model.quant for model in content.models):
        columns.append(("damage", _with_ends(DAMAGE[unit], fixed)))
    if content.unit == "bpb" and not content.spans:
        columns.append(("net, bits per byte", _net_bpb))
    if any(numbers.known(number(model.overall, "kld")) for model in content.models):
        columns += [("KLD, mean", _with_ends("kld", numbers.significant))]
        columns += [("KLD, 99.9\N{NO-BREAK SPACE}%", _with_ends("kld_p999", numbers.significant))]
        columns += [("same top, %", _with_ends("same_top", lambda value: numbers.fixed(_hundredfold(value), 1)))]
    if not content.spans:
        columns.append(("PPL ratio", _with_ends("ppl_ratio", lambda value: numbers.fixed(value, 4))))
    columns.append(("size", lambda model: numbers.size(whole(model.overall, "size_bytes"))))
    columns.append(("bits per weight", lambda model: numbers.fixed(number(model.overall, "bits_per_weight"), 2)))
    return columns


def _hundredfold(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _with_ends(name: str, write: Callable[[float | None], str]) -> Callable[[CardModel], str]:
    return lambda model: _value(model.overall, name, write)


def _value(row: Row, name: str, write: Callable[[float | None], str]) -> str:
    low, high = ends(row, name)
    between = f" ({write(low)} to {write(high)})" if numbers.known(low) and numbers.known(high) else ""
    return write(number(row, name)) + between


def _net_bpb(model: CardModel) -> str:
    gain, loss = number(model.overall, "gain_bpb"), number(model.overall, "loss_bpb")
    return numbers.signed(gain - loss if numbers.known(gain) and numbers.known(loss) else None)


def _notes(content: Content) -> str:
    unit = "bits per byte" if content.spans else "nats per token"
    notes = f"Gain, loss and net (gain − loss) in {unit} of the real text: gain is what a model predicts better "
    notes += "than its reference, loss what it predicts worse. "
    if any(model.quant for model in content.models):
        notes += "Damage is gain + loss, for quants. "
    notes += "In parentheses 95\N{NO-BREAK SPACE}% intervals, from "
    notes += "resamples of whole documents."
    if any(numbers.known(number(model.overall, "kld")) for model in content.models):
        notes += " KLD: KL divergence from the reference, nats per token; same top: tokens at which both find the same "
        notes += "token most probable."
    return notes


def _origin(content: Content, family: Family) -> str:
    """What was compared on what, how far the reference is from itself, and the command."""
    floor = family.noise_floor
    noise = "not measured"
    if floor is not None:
        gain, loss = (floor.bits_per_byte if content.spans else None) or (floor.gain, floor.loss)
        digits = numbers.decimals(gain, loss)
        noise = f"gain {numbers.fixed(gain, digits)}, loss {numbers.fixed(loss, digits)}"
        noise += "" if floor.kld is None else f", KLD {numbers.significant(floor.kld)}"
    facts = [
        ("reference", code(family.ref.label)),
        ("corpus", content.corpus_of(family)),
        ("noise floor", noise),
        *([("date", shown(family.date))] if family.date else []),
        ("signature", code(str(without_folders(family.signature)))),
    ]
    lines = [f"- {title}: {text}" for title, text in facts]
    return "\n".join([*lines, "", "```bash", command(content, family), "```"])
