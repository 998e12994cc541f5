"""What log-odds of prompts say of each model: sentences, lines for a terminal, a table; how a prompt is written.

Nothing here imports plotly, which a terminal does not need.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import polars as pl

from ppldelta.contrasts import PREFERRED
from ppldelta.reporting.hover import literal
from ppldelta.reporting.rows import Row, ends, number, text, whole
from ppldelta.reporting.sentences import INTERVAL, Piece
from ppldelta.reporting.short_names import common_start
from ppldelta.reporting.tables import Cell, Column, Table, made_of
from ppldelta.wording import numbers
from ppldelta.wording.names import LONGEST_NAME, counted, shown_name

LONGEST = 240
"""Characters of a prompt that are shown."""

MOST_ROWS = 500
"""Rows of the table of prompts, which are in the page as they are."""


def quadrants(label: str, against: str) -> dict[tuple[bool, bool], str]:
    """What it means that `label` is the more probable one: under the reference, and under the comparison."""
    if (label, against) == PREFERRED:
        names = ("complies in both", "refuses now", "complies now", "refuses in both")
    else:
        one, other = literal(label, 24), literal(against, 24)
        names = (f"{one} in both", f"{other} now", f"{one} now", f"{other} in both")
    return dict(zip(((True, True), (True, False), (False, True), (False, False)), names, strict=True))


def labels_of(odds: pl.DataFrame) -> tuple[str, str] | None:
    """The two labels whose log-odds these are; None if they are of several pairs.

    Args:
        odds: columns of `schema.ODDS`.
    """
    pairs = odds.select("label", "against").unique().rows()
    return pairs[0] if len(pairs) == 1 else None


def shown(prompts: Sequence[str | None]) -> list[str]:
    """Prompts without what a chat template puts around all of them, shortened in their middle.

    What all begin or end with is left out, as far as it ends or begins with a line break or a bracket of some kind, as
    the marks of templates do.
    """
    known = list(dict.fromkeys(each for each in prompts if each is not None))
    head = tail = 0
    if len(known) > 1:
        begin = common_start(known)
        end = common_start([each[::-1] for each in known])[::-1]
        head = max((found.end() for found in re.finditer(r"[\n>\]}]\s*", begin)), default=0)
        mark = re.search(r"\s*[\n<\[{]", end)
        tail = len(end) - mark.start() if mark else 0
    return ["" if each is None else _cropped(each[head : len(each) - tail].strip()) for each in prompts]


def finding(row: Row) -> list[Piece]:
    """The sentences about one model.

    Args:
        row: the model's row of `schema.ODDS_MODELS` for all groups.
    """
    label, against = text(row, "label"), text(row, "against")
    refusals = (label, against) == PREFERRED
    n = whole(row, "n_groups") or 0
    pieces = [Piece(text(row, "model"), "name")]
    if refusals:
        pieces.append(Piece(" leans more to complying than the reference does in "))
    else:
        pieces += [Piece(" finds "), Piece(label, "name"), Piece(" more probable against "), Piece(against, "name")]
        pieces.append(Piece(" than the reference does in "))
    pieces += [Piece(numbers.count(whole(row, "n_more")), "number"), Piece(f" of {counted(n, 'prompt')}")]
    pieces += [*_parts(row, "more"), Piece("; ")]
    pieces += [Piece(numbers.count(whole(row, "n_to_label")), "number")]
    verb = "changes" if whole(row, "n_to_label") == 1 else "change"
    if refusals:
        pieces.append(Piece(f" {verb} from refusal to compliance"))
    else:
        pieces += [Piece(f" {verb} from "), Piece(against, "name"), Piece(" to "), Piece(label, "name")]
    pieces += [*_parts(row, "to_label"), Piece(", ")]
    pieces += [Piece(numbers.count(whole(row, "n_to_against")), "number"), Piece(" the other way")]
    pieces += [*_parts(row, "to_against"), Piece(". The log-odds change by ")]
    pieces.append(Piece(f"{numbers.signed(number(row, 'change'), 2)} nats", "number"))
    interval = numbers.interval(*ends(row, "change"), 2, sign=True)
    said = f"{INTERVAL} {interval}" if interval else "too few prompts for an interval"
    return [*pieces, Piece(" on average "), Piece(f"({said})", "interval"), *_made_of(row), Piece(".")]


def notes(models: pl.DataFrame) -> list[str]:
    """Lines for a terminal; none if there are no log-odds.

    Args:
        models: columns of `schema.ODDS_MODELS`.
    """
    lines: list[str] = []
    rows = models.filter(pl.col("category").is_null())
    several = rows["family"].n_unique() > 1
    for (label, against, n), some in rows.group_by("label", "against", "n_groups", maintain_order=True):
        one, other = (shown_name(str(name), 20) for name in (label, against))
        lines.append(
            f"log-odds of {one} against {other}, {counted(n, 'prompt')}: nats, mean of the prompts; "
            "±: half of the 95 % interval"
        )
        names = [f"{row['family']}/{row['model']}" if several else row["model"] for row in some.iter_rows(named=True)]
        names = [shown_name(name, LONGEST_NAME) for name in names]
        for name, row in zip(names, some.iter_rows(named=True), strict=True):
            low, high = ends(row, "change")
            width = f" ± {(high - low) / 2:.2f}" if numbers.known(low) and numbers.known(high) else ""
            before, after, change = (numbers.signed(row[column], 2) for column in ("odds_ref", "odds_cmp", "change"))
            lines.append(
                f"  {name.ljust(max(map(len, names)))}  {before} → {after} ({change}{width}); {row['n_more']:,} rise, "
                f"{row['n_to_label']:,} turn to {one}, {row['n_to_against']:,} to {other}"
            )
    return lines


def table(odds: pl.DataFrame, colors: Mapping[tuple[str, str], str], link: Callable[[Row], str]) -> Table:
    """A row for each prompt under each model, those that changed most first; at most `MOST_ROWS`.

    Args:
        odds: columns of `schema.ODDS`.
        colors: (family, model) → name of the colour in the page's style sheet.
        link: where a row's prompt leads; "" for nowhere.
    """
    parts = [
        rows.with_columns(prompt=pl.Series(shown(rows["prompt"].to_list()), dtype=pl.String()))
        for rows in odds.partition_by("family", maintain_order=True)
    ]
    if not parts:
        return Table([], [])
    rows = pl.concat(parts).sort(pl.col("change").abs(), descending=True, nulls_last=True, maintain_order=True)
    rows = rows.head(MOST_ROWS).sort("change", descending=True, maintain_order=True)

    def prompt(row: Row) -> Cell:
        said = text(row, "prompt") or text(row, "group")
        return Cell(said, said, kind="prompt", href=link(row))

    def model(row: Row) -> Cell:
        return Cell(
            text(row, "model"), text(row, "model"), kind="model", color=colors[text(row, "family"), text(row, "model")]
        )

    def side(row: Row) -> Cell:
        ref, cmp = ((number(row, f"odds_{which}") or 0.0) > 0 for which in ("ref", "cmp"))
        name = quadrants(text(row, "label"), text(row, "against"))[ref, cmp]
        return Cell(name, name, kind="name")

    def odds_of(name: str) -> Callable[[Row], Cell]:
        return lambda row: Cell(numbers.signed(number(row, name), 2), _sortable(row, name))

    columns = [
        Column("model", "", "The model that is judged", model, "model", "model"),
        Column("prompt", "", "What comes before the completions", prompt, "name", "prompt"),
        Column(
            "category",
            "",
            "Of the prompt",
            lambda row: Cell(text(row, "category") or "(none)", text(row, "category"), kind="name"),
            "name",
            "category",
        ),
        Column("log-odds", "reference", "Log-odds under the reference, in nats", odds_of("odds_ref"), name="odds_ref"),
        Column("log-odds", "model", "Log-odds under the model, in nats", odds_of("odds_cmp"), name="odds_cmp"),
        Column(
            "change",
            "nats",
            "Log-odds under the model minus those under the reference",
            odds_of("change"),
            name="change",
        ),
        Column("", "", "Which kind of completion is the more probable one", side, "name", "side"),
    ]
    if rows["category"].n_unique() < 2:
        del columns[2]
    return made_of(rows, columns)


def _made_of(row: Row) -> list[Piece]:
    """What became of each label."""
    pieces: list[Piece] = []
    for role in ("label", "against"):
        delta = numbers.signed(number(row, f"{role}_delta"), 2)
        before = " and that of " if pieces else ", the log-probability of "
        pieces += [Piece(before), Piece(text(row, role), "name"), Piece(" by "), Piece(delta, "number")]
    return pieces


def _parts(row: Row, name: str) -> list[Piece]:
    """A part in per cent with its interval, in brackets."""
    low, high = (None if end is None else 100 * end for end in ends(row, name))
    interval = numbers.interval(low, high, 0)
    of_all = numbers.percent(number(row, name), 0)
    return [Piece(f" ({of_all}" + (f", {interval})" if interval else ")"), "interval")]


def _sortable(row: Row, name: str) -> float | None:
    value = number(row, name)
    return value if numbers.known(value) else None


def _cropped(prompt: str) -> str:
    if len(prompt) <= LONGEST:
        return prompt
    return f"{prompt[: LONGEST // 2]} … {prompt[-LONGEST // 2 :]}"
