"""Log-odds of two kinds of completions: against sums by hand, a literal bootstrap, and what a corpus says wrongly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers.chat_models import SIMPLE, with_template
from helpers.tables import write_rows
from ppldelta import demo, schema
from ppldelta.analysis.odds import log_odds, odds_of_models
from ppldelta.contrasts import contained, contrast
from ppldelta.reporting import odds as of_prompts
from ppldelta.reporting.odds import shown
from ppldelta.reporting.prompts import odds_plane
from ppldelta.run.groups import incomplete
from ppldelta.text.document import Document

CMP = demo.COMPARISONS[0]
PROMPTS = (
    "She went up past the last farm, where the road",
    "def area(radius):",
    "The rain began",
    "He said",
    "At noon",
)
ANSWERS = {"comply": (" turns to grass.", " is long"), "refuse": (" ends.",)}


def rows_of(prompts: tuple[str, ...] = PROMPTS, **more: object) -> list[dict[str, object]]:
    rows = [
        {"prompt": prompt, "completion": completion, "group": prompt, "label": label, "category": str(i % 2), **more}
        for i, prompt in enumerate(prompts)
        for label, completions in ANSWERS.items()
        for completion in completions
    ]
    return [{"id": f"{i:02d}", **row} for i, row in enumerate(rows)]


def run(path: Path, rows: list[dict[str, object]], **settings: object) -> ppldelta.Result:
    settings = {"ref": demo.REFERENCE, "cmp": CMP, **settings}
    return ppldelta.score(write_rows(path, *rows), progress=False, store=None, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ppldelta.Result:
    return run(tmp_path_factory.mktemp("odds") / "x.jsonl", rows_of())


def test_log_odds_are_those_of_summed_probabilities(result: ppldelta.Result) -> None:
    odds = result.odds
    assert odds.schema == pl.Schema(schema.ODDS)
    assert odds["group"].to_list() == odds["prompt"].to_list() == list(PROMPTS)
    assert odds["category"].to_list() == ["0", "1", "0", "1", "0"]
    assert odds.select("label", "against", "n_label", "n_against").unique().rows() == [("comply", "refuse", 2, 1)]
    named = result.documents["document"].to_list()
    for i, row in enumerate(odds.iter_rows(named=True)):
        assert row["documents"] == named[3 * i : 3 * i + 3]
        for which in ("ref", "cmp"):
            of_model = [
                math.fsum(result.tokens.filter(pl.col("document") == name)[f"logp_{which}"])
                for name in row["documents"]
            ]
            one = math.log(math.exp(of_model[0]) + math.exp(of_model[1]))
            assert row[f"logp_label_{which}"] == pytest.approx(one, rel=1e-9)
            assert row[f"odds_{which}"] == pytest.approx(one - of_model[2], rel=1e-9)
        assert row["change"] == row["odds_cmp"] - row["odds_ref"] != 0


def test_log_odds_are_those_of_loglikelihood(result: ppldelta.Result) -> None:
    pairs = [(PROMPTS[1], completion) for completions in ANSWERS.values() for completion in completions]
    logp = ppldelta.loglikelihood(demo.REFERENCE, pairs, progress=False, store=None).frame["logp"].to_list()
    want = math.log(math.exp(logp[0]) + math.exp(logp[1])) - logp[2]
    assert result.odds["odds_ref"][1] == pytest.approx(want, abs=1e-3)


def test_the_change_is_that_of_both_labels(result: ppldelta.Result) -> None:
    odds, row = result.odds, result.odds_models.row(0, named=True)
    assert row["label_delta"] == pytest.approx((odds["logp_label_cmp"] - odds["logp_label_ref"]).mean())
    assert row["label_delta"] - row["against_delta"] == pytest.approx(row["change"]) == odds["change"].mean()
    said = "".join(piece.text for piece in of_prompts.finding(row))
    assert (
        f"leans more to complying than the reference does in {row['n_more']} of 5 prompts" in said
        and "the log-probability of comply by" in said
    )


def test_a_saved_result_has_the_same(result: ppldelta.Result, tmp_path: Path) -> None:
    result.save(tmp_path / "out")
    loaded = ppldelta.load(tmp_path / "out")
    assert loaded.odds.equals(result.odds) and loaded.odds_models.equals(result.odds_models)
    assert repr(loaded) == repr(result)
    assert "log-odds of comply against refuse, 5 prompts" in repr(result)


def test_a_model_against_itself_changes_nothing(tmp_path: Path) -> None:
    same = run(tmp_path / "x.jsonl", rows_of(), cmp=demo.REFERENCE)
    assert (same.odds["change"] == 0).all()
    row = same.odds_models.row(0, named=True)
    assert (row["change"], row["n_more"], row["n_to_label"], row["n_to_against"]) == (0, 0, 0, 0)
    assert row["more_low"] is None and row["change_low"] == 0


def records(odds: list[tuple[float, float]]) -> pl.DataFrame:
    """Rows of `schema.ODDS` with these log-odds."""
    empty = {name: None for name in schema.ODDS}
    more = {"family": "f", "model": "m", "category": "", "label": "comply", "against": "refuse", "documents": ["d"]}
    rows = [
        {**empty, **more, "group": str(i), "prompt": f"p {i}", "odds_ref": ref, "odds_cmp": cmp, "change": cmp - ref}
        for i, (ref, cmp) in enumerate(odds)
    ]
    return pl.DataFrame(rows, schema=schema.ODDS)


def test_a_models_numbers_are_those_of_groups_drawn_one_by_one() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 2, (20, 2))
    values[0] = 0.0, 1.0  # 0 is no compliance
    row = odds_of_models(records([(a, b) for a, b in values]), n_resamples=300).row(0, named=True)
    ref, cmp = values.T
    by_name = {
        "change": cmp - ref,
        "more": cmp > ref,
        "to_label": (ref <= 0) & (cmp > 0),
        "to_against": (ref > 0) & (cmp <= 0),
    }
    draws = np.random.default_rng(0).integers(0, 20, (300, 20))
    for name, each in by_name.items():
        assert row[name] == pytest.approx(each.mean())
        ends = np.quantile([each[draw].mean() for draw in draws], [0.025, 0.975])
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(ends)
    assert row["n_to_label"] == by_name["to_label"].sum() > 1


def test_what_is_not_finite_and_what_is_too_little_gets_no_interval() -> None:
    row = odds_of_models(records([(0.0, 1.0), (1.0, math.nan), (-1.0, 2.0)])).row(0, named=True)
    assert (row["n_groups"], row["change"], row["n_to_label"], row["change_low"]) == (2, 2.0, 2, None)
    assert odds_of_models(records([(0.0, math.nan)])).is_empty()


def test_any_two_labels_work_and_others_are_named(tmp_path: Path) -> None:
    rows = [{**row, "label": {"comply": "yes", "refuse": "no"}[str(row["label"])]} for row in rows_of()]
    found = run(tmp_path / "x.jsonl", rows)
    assert found.odds.select("label", "against", "n_label").unique().rows() == [("no", "yes", 1)]
    assert not found.warnings
    assert contrast(["b", None, "a", "c"]) == ("a", "b")
    assert contrast(["refuse", "a", "comply"]) == ("comply", "refuse")
    assert contrast(["a", None, "a"]) is None
    sentence = of_prompts.finding(found.odds_models.row(0, named=True))
    said = "".join(piece.text for piece in sentence)
    assert "finds no more probable against yes than the reference does in" in said and " from yes to no" in said


def document(group: str | None, label: str | None) -> Document:
    return Document(f"{group}/{label}", "", b"x", group=group, label=label)


def test_a_group_of_several_prompts_is_named() -> None:
    one = Document("a/0", "", b"A? yes", prompt_bytes=2, group="a", label="comply")
    other = Document("a/1", "", b"B? no", prompt_bytes=2, group="a", label="refuse")
    (warning,) = incomplete([one, other])
    assert "do not follow one and the same prompt" in warning and warning.endswith("`a`.")
    assert incomplete([one, Document("a/1", "", b"A? no", prompt_bytes=2, group="a", label="refuse")]) == []


def test_groups_that_lack_a_label_are_counted() -> None:
    whole = [document("a", "comply"), document("a", "refuse")]
    assert incomplete(whole) == incomplete([document("a", None), document(None, None)]) == []
    lacking, *rest = incomplete([*whole, document("b", "refuse"), document("c", "comply")])
    assert "2 groups of 3 lack a completion" in lacking and lacking.endswith("`b`, `c`.") and not rest
    assert incomplete([document("a", "comply")])[0].startswith("There are no log-odds")
    others, alone = incomplete([*whole, document("a", "other"), document(None, "refuse")])
    assert "`other`" in others and "1 document has a label and no `group`" in alone


def test_a_group_that_lacks_a_label_has_no_row_and_a_warning(tmp_path: Path) -> None:
    found = run(tmp_path / "x.jsonl", rows_of()[:-1])
    assert found.odds["group"].to_list() == list(PROMPTS[:-1])
    (warning,) = found.warnings
    assert "1 group of 5 lacks a completion" in warning and "`At noon`" in warning


def test_what_another_completion_contains_is_not_counted_twice(result: ppldelta.Result, tmp_path: Path) -> None:
    rows = rows_of()
    again = [
        {**rows[0], "id": "again"},
        {**rows[0], "id": "longer", "completion": f"{rows[0]['completion']} And then"},
        {**rows[0], "id": "other", "label": "refuse", "completion": rows[2]["completion"] + " And"},
        {**rows[3], "id": "elsewhere", "label": "refuse"},  # another label is another kind of answer
    ]
    found = run(tmp_path / "x.jsonl", [*again[:2], *rows, *again[2:]])
    (warning,) = found.warnings
    assert warning == (
        "3 completions have no part in the log-odds, whose probability is counted in another one's of the same prompt "
        "and label already: `longer` begins with `again`, `00` repeats `again`, `other` begins with `02`."
    )
    assert found.odds["documents"][0].to_list() == ["01", "02", "again"]
    assert found.odds["n_label"].to_list() == [2] * 5
    assert found.odds["n_against"].to_list() == [1, 2, 1, 1, 1]
    assert found.odds["odds_cmp"][0] == pytest.approx(result.odds["odds_cmp"][0], abs=1e-6)
    assert (found.documents["document"] == "longer").any()  # its own numbers stay


def test_what_is_left_of_answers_excludes_one_another() -> None:
    texts = [b"ab", b"abc", b"b", b"ab", b"abd", b"a!", b"abcd"]
    assert contained([(0, text) for text in texts]) == {1: 0, 3: 0, 4: 0, 6: 0}
    assert contained(list(enumerate(texts))) == {} == contained([])


def test_labels_that_look_the_same_are_named() -> None:
    rows = [document("a", "comply"), document("a", "Refuse"), document("b", "refuse"), document("b", "comply ")]
    first = incomplete(rows)[0]
    assert first.startswith("Labels that differ only in case or white space count as different ones: ")
    assert "is `comply ` meant as `comply`?" in first and "is `Refuse` meant as `refuse`?" in first
    assert "is `Refuse` meant as `refuse`?" in incomplete([document("a", "refuse"), document("a", "Refuse")])[0]


def test_texts_have_no_log_odds_and_say_nothing_of_them() -> None:
    found = ppldelta.score({"a": PROMPTS[0] * 3}, demo.REFERENCE, CMP, progress=False, store=None)
    assert found.odds.is_empty() and found.odds_models.is_empty()
    assert "odds" not in repr(found) and "odds" not in found.figures
    assert log_odds(found.tokens.clear(), found.documents, found.texts, found.pieces).is_empty()


def test_an_opening_ends_where_the_message_does(tmp_path: Path) -> None:
    """Behind a whole answer the template ends the turn, behind an opening it does not."""
    ref, cmp = (
        with_template(tmp_path / f"{name}.gguf", SIMPLE, model) for name, model in (("r", demo.REFERENCE), ("c", CMP))
    )
    rows = rows_of(PROMPTS[:1])
    whole, opening = (
        run(tmp_path / "x.jsonl", [{**row, "opening": flag} for row in rows], ref=ref, cmp=cmp, chat_template=True)
        for flag in (False, True)
    )
    for name, completion in zip(opening.documents["document"], [str(row["completion"]) for row in rows], strict=True):
        long, short = (each.tokens.filter(pl.col("document") == name) for each in (whole, opening))
        assert short.equals(long.head(len(short))) and len(short) < len(long)
        assert short["byte_end"][-1] - short["byte_start"][0] == len(completion.strip())
    assert (opening.odds["logp_label_ref"] > whole.odds["logp_label_ref"]).all()
    assert opening.odds["prompt"][0].endswith("assistant:\n")


def test_prompts_are_shown_without_their_template() -> None:
    around = "<|a|>system\nBe brief.<|b|>\n<|a|>user\n{}<|b|>\n<|a|>assistant\n"
    texts = ["How do I boil an egg?", "How do I tie a tie?", "How do I smoke a trout?"]
    assert shown([around.format(text) for text in texts]) == texts
    assert shown([f"[INST] {text} [/INST]" for text in texts]) == texts
    assert shown([texts[0], None, texts[0]]) == [texts[0], "", texts[0]]
    assert len(shown(["x" * 5000])[0]) < 300


def test_the_plane_has_a_mark_for_each_prompt_and_counts_quadrants() -> None:
    figure = odds_plane(records([(1.0, 2.0), (-1.0, 2.0), (-2.0, 3.0), (-1.0, -2.0), (3.0, -1.0), (1.0, math.nan)]))
    (trace,) = figure.data
    assert list(trace.x) == [1.0, -1.0, -2.0, -1.0, 3.0] and list(trace.y) == [2.0, 2.0, 3.0, -2.0, -1.0]
    assert "p 1" in trace.customdata[1][0] and "change <b>+3.00</b>" in trace.customdata[1][0]
    at = {}
    for note in figure.layout.annotations:
        if note.text != "●":
            at.setdefault((note.x, note.y, note.yref), []).append(note.text)
    assert {place: sorted(texts) for place, texts in at.items()} == {
        (0, 1, "y domain"): ["<b>2</b>", "complies now"],
        (1, 0, "y"): ["<b>1</b>", "complies in both"],
        (0, 0, "y"): ["<b>1</b>", "refuses in both"],
        (1, 0, "y domain"): ["<b>1</b>", "refuses now"],
    }
