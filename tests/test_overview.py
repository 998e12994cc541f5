"""The sentence about all models: what it claims rests on the intervals, and it says what the mean hides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ppldelta.analysis.steps import Standing, Step
from ppldelta.reporting import quants, sentences
from ppldelta.reporting.overview import Judged, overview, verdict


def model(
    name: str, delta: float | None = None, quant: bool = False, equal: bool = False, **categories: float
) -> Judged:
    """A model with a delta over all and one for each category, each with an interval of ± 0.01."""

    def row(category: str | None, value: float | None) -> dict[str, Any]:
        known = value is not None
        damage = 2 * abs(value) if value is not None else None
        return {
            "model": name, "category": category, "delta": value, "damage": damage, "size_bytes": 5_000_000,
            "delta_low": value - 0.01 if known and value is not None else None,
            "delta_high": value + 0.01 if known and value is not None else None,
            "damage_low": damage, "damage_high": damage, "bits_per_weight": 4.5, "kld": None,
        }  # fmt: skip

    return Judged(name, [row(None, delta), *(row(*each) for each in categories.items())], quant, equal)


def said(*models: Judged) -> str:
    return "".join(piece.text for piece in overview(models))


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (
            [model("a", 0.1), model("b", -0.1)],
            "a predicts the text better than the reference over all, b worse.",
        ),
        (
            [model("a", -0.1, code=0.1, prose=-0.3), model("b", -0.1, code=-0.1, prose=0.2)],
            "Both models predict the text worse than the reference over all; a is better on code, b on prose.",
        ),
        (
            [model("a", 0.1, code=0.1, prose=0.1), model("b", -0.1, code=0.1, prose=-0.2), model("c", 0.0)],
            "a predicts the text better than the reference over all, b worse, c neither clearly better nor worse; "
            "b does too on code.",
        ),
        (
            [model("a", 0.0, code=0.1, prose=0.1), model("b", -0.1), model("c", -0.1)],
            "None of 3 models predicts the text clearly better than the reference over all; a does on code and prose.",
        ),
        (
            [model("a", -0.1, x=0.1), model("b", -0.1, y=0.1), model("c", -0.1, z=0.1), model("d", -0.1, z=0.1)],
            "All 4 models predict the text worse than the reference over all; a is better on x, b on y, "
            "2 more on others.",
        ),
        (
            [model("q", -0.1, quant=True), model("r", -0.3, quant=True)],
            "q (5.00 MB) does the least damage, 0.200 nats/token (0.200 to 0.200); "
            "r (5.00 MB) the most, 0.600 (0.600 to 0.600).",
        ),
        (
            [model("a", 0.1), model("b", 0.1), model("q", -0.1, quant=True)],
            "a and b predict the text better than the reference over all. "
            "q (5.00 MB) does 0.200 nats/token of damage (0.200 to 0.200).",
        ),
        (
            [model("a", -0.1, equal=True, code=0.1), model("b", -0.1)],
            "Neither model predicts the text better than the reference over all. "
            "a is inside the noise floor: equal to the reference.",
        ),
        (
            [model("a"), model("b")],
            "Nothing can be said of the models: their numbers are not finite.",
        ),
    ],
)
def test_the_sentence(models: list[Judged], expected: str) -> None:
    assert said(*models).replace("\N{NO-BREAK SPACE}", " ") == expected


def test_of_quants_it_says_what_ties_with_the_best() -> None:
    q, r, s = (model(name, -0.1 * i, quant=True) for i, name in enumerate("qrs", 1))
    step = Step("s", "q", 10, 0.4, 0.3, 0.5)
    alone = Standing(step, step, "q", ("q",))
    assert "0.200), and nothing smaller ties with it; s" in said(replace(q, standing=alone), r, s)
    tied = said(replace(q, standing=replace(alone, tied=("r", "q"))), r, s)
    assert ", but r (5.00\N{NO-BREAK SPACE}MB) is the smallest that cannot be told from it; s" in tied
    larger = [replace(each, rows=[{**each.overall, "size_bytes": 6_000_000}], standing=alone) for each in (r, s)]
    assert "ties with it (2 larger ones do more); s" in said(replace(q, standing=alone), *larger)
    not_compared = replace(larger[0], standing=None)
    assert "ties with it (a larger one does more); s" in said(replace(q, standing=alone), not_compared, larger[1])


def test_of_one_model_it_is_the_models_own() -> None:
    one = model("a", -0.1, code=0.1, prose=-0.3)
    assert overview([one]) == sentences.finding(one.rows)
    quant = model("q", -0.1, quant=True)
    assert overview([quant]) == quants.finding(quant.rows, None)
    assert said(model("a", 0.001, equal=True)).endswith(" It is inside the noise floor: equal to the reference.")


def test_a_verdict_names_only_what_is_clear() -> None:
    one = model("a", -0.1, code=0.1, prose=-0.3, poems=0.001)
    assert verdict(one) == "better: code; worse: prose"
    assert verdict(one, "delta") == "code +0.10, prose \N{MINUS SIGN}0.30"
    assert verdict(model("a", 0.1, code=0.001, prose=0.001)) == "neither clearly better nor worse"
    assert [verdict(model("a", delta)) for delta in (0.1, -0.1)] == ["better", "worse"]
    assert verdict(model("q", -0.1, quant=True)) == "" and "noise floor" in verdict(model("a", 0.1, equal=True))
