"""What the numbers say of all models together, in one sentence; of a single model it is the model's own sentence.

It rests on the same directions and intervals as `sentences` and `quants`, and names what the mean over all texts hides:
categories in which a model is better although it is not so over all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ppldelta.analysis.steps import Standing
from ppldelta.reporting import quants, sentences
from ppldelta.reporting.rows import Row, ends, number, overall_of, text, whole
from ppldelta.reporting.sentences import NEITHER, TOO_FEW, Piece, direction
from ppldelta.reporting.units import DAMAGE, SHORT_UNITS, Unit, damage_of
from ppldelta.wording import numbers

NAMED = 2
"""Models or categories that are named; of more, their number is said."""

MOST_FAMILIES = 3
"""Families of which each is told; of more, the models of all together."""


@dataclass(frozen=True)
class Judged:
    """One model and what is known of it.

    Attributes:
        name: as a sentence calls it.
        rows: as for `sentences.finding`.
        quant: whether it is a quant of its reference.
        equal: whether it lies inside the noise floor.
        unit: in which its gain and loss are told.
        family: its name, of several.
        standing: of a quant among others of its reference, under the names that sentences use.
    """

    name: str
    rows: Sequence[Row]
    quant: bool = False
    equal: bool = False
    unit: Unit = "nats"
    family: str = ""
    standing: Standing | None = None

    @property
    def overall(self) -> Row:
        """The row of all documents."""
        return overall_of(self.rows)

    @property
    def damage(self) -> float | None:
        """Gain + loss in `unit`."""
        return damage_of(self.overall, self.unit)

    @property
    def better(self) -> list[str]:
        """The categories in which it is better than the reference."""
        return [text(row, "category") for row in self.rows if row["category"] is not None and _way(row) == 1]

    @property
    def worse(self) -> list[str]:
        """The categories in which it is worse."""
        return [text(row, "category") for row in self.rows if row["category"] is not None and _way(row) == -1]


def overview(models: Sequence[Judged]) -> list[Piece]:
    """The sentence, or two where quants stand beside other models.

    Args:
        models: at least one.
    """
    if len(models) == 1:
        return _of_one(models[0])
    changed = [model for model in models if not model.quant]
    damaged = [model for model in models if model.quant]
    pieces = [
        *_of_changed(changed, "finetune" if damaged else "model"),
        *([Piece(" ")] if changed and damaged else []),
        *_of_quants(damaged),
    ]
    equal = [model for model in models if model.equal]
    if equal:
        verb = " is" if len(equal) == 1 else " are"
        pieces += [Piece(" "), *_names(equal), Piece(f"{verb} inside the noise floor: equal to the reference.")]
    return pieces


def of_families(models: Sequence[Judged]) -> list[Piece]:
    """What the changes within several families do: a range for each of a few families of quants, else `overview`."""
    families: dict[str, list[Judged]] = {}
    for model in models:
        families.setdefault(model.family, []).append(model)
    own = " Each against its own reference" if len(models) > 1 else " Against its own reference"
    if len(families) > MOST_FAMILIES or not all(model.quant and numbers.known(model.damage) for model in models):
        return [Piece(f"{own}: "), *overview(models)]
    digits = numbers.decimals(*(model.damage for model in models))
    unit = f" {SHORT_UNITS[models[0].unit]}"
    pieces = [Piece(f"{own}, the damage of {'quants' if len(models) > 1 else 'the quant'} is ")]
    for i, those in enumerate(families.values()):
        least, *more = sorted(those, key=lambda model: model.damage or 0.0)
        pieces += [Piece(", and " if i else "")]
        for k, model in enumerate([least, *more[-1:]]):
            pieces += [Piece(" to " if k else ""), Piece(numbers.fixed(model.damage, digits) + unit, "number")]
            pieces += [Piece(" ("), _name(model), Piece(")")]
            unit = ""
    return [*pieces, Piece(".")]


def verdict(model: Judged, column: str | None = None) -> str:
    """One model in a few words: where it is better and where worse; of a quant nothing (`quants.verdict`).

    Args:
        model: that is judged.
        column: of the delta by which categories are told, whose sign says enough; None for words.
    """
    if model.equal:
        return "inside the noise floor"
    if model.quant:
        return ""
    way = _way(model.overall)
    if len(model.rows) < 3 and way is not None:  # no category beside another
        return {1: "better", -1: "worse", 0: NEITHER}[way]
    if way is None and not (model.better or model.worse):
        return TOO_FEW
    if column is not None:
        deltas = {row["category"]: number(row, column) for row in model.rows}
        return ", ".join(_with_delta(each, deltas[each]) for each in (*model.better, *model.worse)) or NEITHER
    parts = [
        f"{word}: {', '.join(category or 'no category' for category in categories)}"
        for word, categories in (("better", model.better), ("worse", model.worse))
        if categories
    ]
    return "; ".join(parts) or NEITHER


def _with_delta(category: str, delta: float | None) -> str:
    return f"{category or 'no category'} {numbers.signed(delta, max(numbers.decimals(delta) - 1, 2))}"


def _of_one(model: Judged) -> list[Piece]:
    """The first sentence of what the report says of the model, and whether it is inside the noise floor."""
    pieces = quants.finding(model.rows, None, model.unit) if model.quant else sentences.finding(model.rows, model.unit)
    if model.quant:
        end = next((i for i, piece in enumerate(pieces) if piece.text == "."), len(pieces) - 1)
        pieces = pieces[: end + 1]
    return [*pieces, Piece(" It is inside the noise floor: equal to the reference.")] if model.equal else pieces


def _of_changed(models: Sequence[Judged], noun: str) -> list[Piece]:
    """Which models are better over all texts, which are not, and where those that are not are better all the same."""
    known = [model for model in models if numbers.known(number(model.overall, "delta"))]
    if not known:
        return [Piece("Nothing can be said of the models: their numbers are not finite.")] if models else []
    if len(models) == 1:
        return sentences.finding(models[0].rows, models[0].unit)
    better, worse, even = ([model for model in known if _way(model.overall) == way] for way in (1, -1, 0))
    if not (better or worse or even):
        verb = "predicts" if len(known) == 1 else "predict"
        head = f"{TOO_FEW[0].upper()}{TOO_FEW[1:]} whether "
        return [Piece(head), *_names(known), Piece(f" {verb} the text better than the reference or worse.")]
    if better:
        verb = " predicts" if len(better) == 1 else " predict"
        pieces = [*_names(better), Piece(f"{verb} the text better than the reference over all")]
        pieces += [Piece(", "), *_names(worse), Piece(" worse")] if worse else []
        pieces += [Piece(", "), *_names(even), Piece(f" {NEITHER}")] if even else []
        verbs = ("does too", "do too")
    elif worse and not even and not any(model.equal for model in worse):
        every = f"Both {noun}s" if len(known) == 2 else f"All {numbers.count(len(known))} {noun}s"
        pieces = [Piece(f"{every} predict the text worse than the reference over all")]
        verbs = ("is better", "are better")
    else:
        verbs = ("does", "do")
        none = f"Neither {noun}" if len(known) == 2 else f"None of {numbers.count(len(known))} {noun}s"
        pieces = [Piece(f"{none} predicts the text {'clearly ' if even else ''}better than the reference over all")]
    return [*pieces, *_hidden([model for model in (*even, *worse) if not model.equal], verbs), Piece(".")]


def _hidden(models: Sequence[Judged], verbs: tuple[str, str]) -> Iterator[Piece]:
    """Where models that are not better over all are better; those that are so in the same categories go together.

    Args:
        models: that are not better over all.
        verbs: of one and of several, which say that they are.
    """
    together: dict[tuple[str, ...], list[Judged]] = {}
    for model in models:
        if model.better:
            together.setdefault(tuple(model.better), []).append(model)
    for i, (categories, those) in enumerate(list(together.items())[:NAMED]):
        verb = "" if i else f" {verbs[len(those) > 1]}"
        yield Piece(", " if i else "; ")
        yield from _names(those)
        yield Piece(f"{verb} on ")
        if len(categories) > NAMED:
            yield Piece(f"{len(categories)} categories")
        for k, category in enumerate(categories if len(categories) <= NAMED else ()):
            if k:
                yield Piece(" and ")
            yield _category(category)
    rest = sum(len(those) for those in list(together.values())[NAMED:])
    if rest:
        yield Piece(f", {numbers.count(rest)} more on others")


def _of_quants(models: Sequence[Judged]) -> list[Piece]:
    """The least and the greatest damage, and what sizes do it."""
    known = sorted(((model.damage, model) for model in models if numbers.known(model.damage)), key=lambda each: each[0])
    if not known:
        return [Piece("Nothing can be said of the quants: their numbers are not finite.")] if models else []
    digits = numbers.decimals(*(damage for damage, _ in known))
    (least, first), (most, last) = known[0], known[-1]
    unit = f" {SHORT_UNITS[models[0].unit]}"
    pieces = [_name(first), Piece(_size(first))]
    if len(known) == 1:
        pieces += [Piece(" does "), Piece(numbers.fixed(least, digits) + unit, "number"), Piece(" of damage")]
        return [*pieces, *_interval(first, digits), Piece(".")]
    pieces += [Piece(" does the least damage, "), Piece(numbers.fixed(least, digits) + unit, "number")]
    pieces += [*_interval(first, digits), *_tied(first, models), Piece("; "), _name(last), Piece(_size(last))]
    pieces += [Piece(" the most, "), Piece(numbers.fixed(most, digits), "number"), *_interval(last, digits)]
    return [*pieces, Piece(".")]


def _interval(model: Judged, digits: int) -> list[Piece]:
    """The interval of its damage in brackets, if there is one."""
    between = numbers.interval(*ends(model.overall, DAMAGE[model.unit]), digits)
    return [Piece(" "), Piece(f"({between})", "interval")] if between else []


def _tied(least: Judged, models: Sequence[Judged]) -> list[Piece]:
    """Which smaller one cannot be told from the quant of least damage, and how many larger ones do more."""
    if least.standing is None or least.standing.tied is None:
        return []
    smallest = next((model for model in models if model.name == least.standing.tied[0]), least)
    if smallest is not least:
        return [
            Piece(", but "),
            _name(smallest),
            Piece(f"{_size(smallest)} is the smallest that cannot be told from it"),
        ]
    pieces = [Piece(", and nothing smaller ties with it")] if least.standing.after else []
    size = number(least.overall, "size_bytes") or 0
    larger = [model for model in models if model.standing and (number(model.overall, "size_bytes") or 0) > size]
    if larger and not any(model.name in least.standing.tied for model in larger):
        pieces.append(
            Piece(" (a larger one does more)" if len(larger) == 1 else f" ({len(larger)} larger ones do more)")
        )
    return pieces


def _way(row: Row) -> int | None:
    return direction(row) if numbers.known(number(row, "delta")) else None


def _names(models: Sequence[Judged]) -> Iterator[Piece]:
    """Their names, or how many they are."""
    if len(models) > NAMED:
        yield Piece(f"{numbers.count(len(models))} models")
        return
    for i, model in enumerate(models):
        if i:
            yield Piece(" and ")
        yield _name(model)


def _name(model: Judged) -> Piece:
    return Piece(model.name, "name")


def _category(category: str) -> Piece:
    return Piece(category or "documents without category", "category")


def _size(model: Judged) -> str:
    size = whole(model.overall, "size_bytes")
    return "" if size is None else f" ({numbers.size(size)})"
