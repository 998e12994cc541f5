"""What stands beside a plane: a row for each model, which is its legend too; of a single model its figures, large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ppldelta.cards.content import CardModel, Content
from ppldelta.cards.drawing import Drawing, Point, Shape, Style, fitted, shown
from ppldelta.reporting import overview
from ppldelta.reporting.references import bpb_of
from ppldelta.reporting.rows import ends, number, whole
from ppldelta.reporting.sentences import direction
from ppldelta.reporting.units import COLUMNS, DELTA, SHORT_UNITS, UNITS, Unit, damage_of
from ppldelta.wording import numbers

HEAD = Style(15, color="muted")
MOST_ROWS = 10
"""Models in a table; the rest are counted."""
ROW = 98.0
"""Pixels of a row at most."""
REFERENCE = 25.0
"""Pixels of the line that says how well a family's reference predicts the text."""
COLUMN = 104.0
NARROW = 600.0
"""Pixels of a table below which it has one column of numbers, and notes below them."""


@dataclass(frozen=True)
class Figure:
    """One number of a model: what it is, the number, and its interval or remark."""

    title: str
    value: str
    note: str


def height(content: Content, most: float) -> float:
    """Pixels that the table of several models takes, at most `most`."""
    return min(most, 30 + ROW * min(len(content.models), MOST_ROWS))


def draw(drawing: Drawing, content: Content, at: Point, size: tuple[float, float]) -> None:
    """Draws the table of several models.

    Args:
        drawing: to draw on.
        content: of the card.
        at: upper left corner.
        size: width and height that there are.
    """
    left, top = at
    right = left + size[0]
    models = content.models[:MOST_ROWS]
    rest = len(content.models) - len(models)
    bpb = bpb_of(content.reference_pairs)
    above = REFERENCE if bpb and (size[1] - 26) / len(models) > 2 * REFERENCE else 0.0
    room = (size[1] - 26 - (22 if rest else 0) - above * len(content.families)) / len(models)
    row = min(ROW, room)
    name_size = min(23.0, row * 0.42)
    name, value = Style(name_size, "bold"), Style(name_size, "bold", tabular=True)
    note = Style(max(13.0, min(17.0 if size[0] >= NARROW else 13.5, row * 0.3)), color="muted")
    columns = ["gain", "loss", "net"] if size[0] >= NARROW else ["net"]  # the plane has the others
    for i, title in enumerate(columns):
        drawing.text((right - (len(columns) - 1 - i) * COLUMN, top + 11), title, HEAD, anchor="end")
    drawing.text((left, top + 11), UNITS[content.unit], HEAD)
    digits = numbers.decimals(*(number(model.overall, column) for model in models for column in COLUMNS[content.unit]))
    y = top + 26 - row
    for i, model in enumerate(models):
        y += row
        family = model.family.name
        if above and family in bpb and (i == 0 or models[i - 1].family.name != family):
            drawing.line((left, y), (right, y), "line")
            told = f"{shown(family)}: reference {numbers.fixed(bpb[family], 3)} {SHORT_UNITS['bpb']}"
            drawing.text((left, y + 0.7 * REFERENCE), fitted(told, HEAD, size[0]), HEAD)
            y += above
        drawing.line((left, y), (right, y), "line")
        base = y + row * 0.44
        drawing.mark(
            (left + 9, base - name_size * 0.36),
            model.color,
            shape="square" if model.quant else "circle",
            size=8,
            rim=model.rim,
        )
        words = fitted(shown(model.name), name, size[0] - len(columns) * COLUMN - 36)
        drawing.text((left + 28, base), words, name)
        values = _values(content, model, digits)[-len(columns) :]
        for k, text in enumerate(values):
            drawing.text((right - (len(columns) - 1 - k) * COLUMN, base), text, value, anchor="end")
        if row >= 36:
            low = base + row * 0.36
            interval = numbers.interval(*ends(model.overall, DELTA[content.unit]), digits, sign=True)
            taken = drawing.text((right, low), interval, note, anchor="end") if interval else 0.0
            room = size[0] - taken - 48
            told = verdict(model, content.unit, with_numbers=True)
            words = told if note.width(told) <= room else fitted(verdict(model, content.unit), note, room)
            drawing.text((left + 28, low), words, note)
    if rest:
        drawing.text((left, top + size[1] - 2), f"and {rest} more models", HEAD)


def _values(content: Content, model: CardModel, digits: int) -> tuple[str, str, str]:
    gain, loss = (number(model.overall, column) for column in COLUMNS[content.unit])
    net = gain - loss if numbers.known(gain) and numbers.known(loss) else None
    return numbers.fixed(gain, digits), numbers.fixed(loss, digits), numbers.signed(net, digits)


def verdict(model: CardModel, unit: Unit, *, with_numbers: bool = False) -> str:
    """A model's verdict in a few words: where it is better, where it is worse; of a quant its damage.

    Args:
        model: that is judged.
        unit: of its damage and of the means.
        with_numbers: whether each category has its mean delta in place of "better" and "worse".
    """
    if model.equal:
        return "inside the noise floor"
    if model.quant:
        damage = damage_of(model.overall, unit)
        size = whole(model.overall, "size_bytes")
        named = "quant" if size is None else f"quant, {numbers.size(size)}"
        return f"{named}, damage {numbers.fixed(damage, numbers.decimals(damage))}"
    if len(model.rows) < 3 and direction(model.overall) is not None:
        return ""
    return shown(overview.verdict(model.judged, DELTA[unit] if with_numbers else None))


def figures(content: Content, model: CardModel) -> Iterator[Figure]:
    """The figures of a single model, the most important first."""
    row = model.overall
    digits = numbers.decimals(*(number(row, column) for column in COLUMNS[content.unit]))
    unit = SHORT_UNITS[content.unit]
    columns = zip(
        ("gain", "loss", "net"), (*COLUMNS[content.unit], DELTA[content.unit]), (False, False, True), strict=True
    )
    for title, column, sign in columns:
        write = numbers.signed if sign else numbers.fixed
        note = numbers.interval(*ends(row, column), digits, sign=sign)
        yield Figure(f"{title}, {unit}", write(number(row, column), digits), note)
    if numbers.known(number(row, "kld")):
        yield Figure(
            f"KL divergence, {SHORT_UNITS['nats']}",
            numbers.significant(number(row, "kld")),
            numbers.significant_interval(*ends(row, "kld")),
        )
    if numbers.known(number(row, "same_top")):
        low, high = (None if end is None else 100 * end for end in ends(row, "same_top"))
        yield Figure("same top token", numbers.percent(number(row, "same_top")), numbers.interval(low, high, 1))
    if content.spans:  # whose lengths differ, so that no perplexity is known
        of_reference = f"reference {numbers.fixed(number(row, 'bpb_ref'), 3)}"
        yield Figure("bits per byte", numbers.fixed(number(row, "bpb_cmp"), 3), of_reference)
    else:
        of_reference = f"reference {numbers.perplexity(number(row, 'ppl_ref'))}"
        yield Figure("perplexity", numbers.perplexity(number(row, "ppl_cmp")), of_reference)
    size, bits = whole(row, "size_bytes"), number(row, "bits_per_weight")
    if size is not None:
        note = f"{numbers.fixed(bits, 2)} bits per weight" if numbers.known(bits) else ""
        yield Figure("size of the tensors", numbers.size(size), note)


def draw_figures(drawing: Drawing, shown_figures: Sequence[Figure], at: Point, size: tuple[float, float]) -> None:
    """Draws the figures of a single model, one below the other; arguments as those of `draw`."""
    left, top = at
    right = left + size[0]
    row = min(74.0, size[1] / len(shown_figures))
    title = Style(min(20.0, row * 0.34))
    value = Style(min(32.0, row * 0.52), "bold", tabular=True)
    note = Style(min(16.0, row * 0.28), color="muted", tabular=True)
    for i, each in enumerate(shown_figures):
        y = top + i * row
        if i:
            drawing.line((left, y), (right, y), "line")
        drawing.text((left, y + row * 0.62), each.title, title)
        if size[0] < NARROW:
            drawing.text((right, y + row * 0.52), each.value, value, anchor="end")
            drawing.text((right, y + row * 0.86), each.note, note, anchor="end")
            continue
        drawing.text((right - 190, y + row * 0.66), each.value, value, anchor="end")
        drawing.text((right - 172, y + row * 0.62), each.note, note)


LEGEND = Style(16)
GAP = 17


def legend(content: Content, width: float) -> list[list[tuple[CardModel | None, str]]]:
    """Lines of names, with how often each model finds the reference's most probable token, where that is known.

    Args:
        content: of the card.
        width: pixels of a line.

    Returns:
        For each line the models and what is written beside their marks; without a model a text alone.
    """
    tops = [number(model.overall, "same_top") for model in content.models]
    known = any(map(numbers.known, tops))
    entries: list[tuple[CardModel | None, str]] = [(None, "same top token:")] if known else []
    several = len(content.families) > 1
    family = ""
    for model, top in zip(content.models, tops, strict=True):
        if several and model.family.name != family:
            family = model.family.name
            entries.append((None, f"{fitted(shown(content.family_names[family]), LEGEND, 230)}:"))
        name = fitted(shown(model.mark), LEGEND, 230)
        entries.append((model, f"{name}\N{NO-BREAK SPACE}{numbers.percent(top)}" if known else name))
    found: list[list[tuple[CardModel | None, str]]] = [[]]
    x = 0.0
    for entry in entries:
        if found[-1] and x + _entry(*entry) > width:
            found.append([])
            x = 0.0
        found[-1].append(entry)
        x += _entry(*entry) + GAP
    return found


def _entry(model: CardModel | None, text: str) -> float:
    return (0 if model is None else 19) + LEGEND.width(text)


def draw_legend(
    drawing: Drawing, written: Sequence[Sequence[tuple[CardModel | None, str]]], at: Point, leading: float
) -> None:
    """Draws what `legend` gives; `at` is where the first base line begins."""
    for i, line in enumerate(written):
        x, y = at[0], at[1] + i * leading
        for model, text in line:
            if model is not None:
                shape: Shape = "square" if model.quant else "circle"
                drawing.mark((x + 6, y - 5.7), model.color, shape=shape, size=6.5, rim=model.rim)
                drawing.text((x + 19, y), text, LEGEND)
            else:
                drawing.text((x, y), text, replace(LEGEND, color="muted"))
            x += _entry(model, text) + GAP
