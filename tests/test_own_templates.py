"""With `align="bytes"` each model is asked by its own chat template, and completions are compared on the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers.chat_models import SIMPLE, with_template
from helpers.tables import write_rows
from ppldelta import demo
from ppldelta.errors import ModelError
from ppldelta.run.common_spans import Stretch, common_stretch
from ppldelta.text.alignment import align_stretch, sums, whole
from ppldelta.text.document import Document

OTHER = (
    "{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] }}<|end_of_text|>[end]\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
"""It takes no spaces off, as `SIMPLE` does."""
RAISES = "{{ raise_exception('never') }}"
ROWS = [
    {"id": "a", "prompt": "How is the road?", "completion": "It turns to grass.", "group": "g", "label": "comply"},
    {"id": "b", "prompt": "How is the road?", "completion": "It is ending.", "group": "g", "label": "refuse"},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "ref": with_template(folder / "ref.gguf", SIMPLE),
        "same": with_template(folder / "same.gguf", SIMPLE, demo.COMPARISONS[0]),
        "other": with_template(folder / "other.gguf", OTHER, demo.COMPARISONS[0]),
        "raises": with_template(folder / "raises.gguf", RAISES, demo.COMPARISONS[0]),
    }


def run(folder: Path, ref: Path, *cmp: Path, rows: list[dict[str, str]] = ROWS, **settings: object) -> ppldelta.Result:
    path = write_rows(folder / "x.jsonl", *rows)
    settings = {"align": "bytes", "chat_template": True, "store": None, **settings}
    return ppldelta.score(path, ref, list(cmp), progress=False, **settings)  # type: ignore[arg-type]


def contents(result: ppldelta.Result, column: str, document: str) -> float:
    """The sum over a completion without what a template puts behind it."""
    rows = result.tokens.filter(pl.col("document") == document)
    length = len(next(row["completion"] for row in ROWS if row["id"] == document))
    begin = rows["byte_start"].min()
    return float(rows.filter(pl.col("byte_end") <= begin + length)[column].cast(pl.Float64).sum())


def test_each_model_has_the_numbers_that_its_own_template_gives(models: dict[str, Path], tmp_path: Path) -> None:
    both = run(tmp_path, models["ref"], models["other"], models["same"])
    of_ref = run(tmp_path, models["ref"], models["ref"])
    of_other = run(tmp_path, models["other"], models["other"])
    mine = both.tokens.filter(pl.col("model") == "other")
    for row in ROWS:
        here = mine.filter(pl.col("document") == row["id"])
        assert here["byte_end"][-1] - here["byte_start"][0] == len(row["completion"])
        for column, alone in (("logp_ref", of_ref), ("logp_cmp", of_other)):
            want = contents(alone, column, row["id"])
            assert here[column].cast(pl.Float64).sum() == pytest.approx(want, abs=1e-5)
    (warning,) = both.warnings
    assert "`other` is asked by a chat template of its own" in warning and "same" not in warning
    odds = both.odds.filter(model="other").row(0, named=True)
    want = contents(of_other, "logp_cmp", "a") - contents(of_other, "logp_cmp", "b")
    assert odds["odds_cmp"] == pytest.approx(want, abs=1e-4)


def test_by_token_all_models_get_the_reference_s_text(models: dict[str, Path], tmp_path: Path) -> None:
    by_token = run(tmp_path, models["ref"], models["other"], models["same"], align="tokens")
    own, same = (by_token.tokens.filter(pl.col("model") == name) for name in ("other", "same"))
    assert own["logp_cmp"].equals(same["logp_cmp"])
    assert "all models read what the template of `ref` makes" in by_token.warnings[0]
    by_byte = run(tmp_path, models["ref"], models["same"]).tokens
    assert by_byte["logp_cmp"].equals(same["logp_cmp"])


def test_completions_that_templates_write_differently_are_compared_in_part(
    models: dict[str, Path], tmp_path: Path
) -> None:
    rows = [{**ROWS[0], "completion": "It turns to grass. "}, {**ROWS[1], "completion": " It is ending."}]
    found = run(tmp_path, models["ref"], models["other"], rows=rows)
    assert found.documents["document"].to_list() == ["a"]
    assert found.tokens["byte_end"].max() - found.tokens["byte_start"].min() <= len("It turns to grass.")
    said = "\n".join(found.warnings)
    assert "is compared on a part of 1 completion" in said and "`a`" in said
    assert "without 1 document, of which both score no common stretch: `b`" in said


def test_a_template_that_makes_no_text_leaves_its_model_out(models: dict[str, Path], tmp_path: Path) -> None:
    found = run(tmp_path, models["ref"], models["raises"], models["same"])
    assert found.left_out == {"comparison": ["raises"]} and found.families[0].models == ["same"]
    with pytest.raises(ModelError, match="chat template of `raises`"):
        run(tmp_path, models["ref"], models["raises"])


def test_the_store_has_both_readings(models: dict[str, Path], tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    first, again = (run(tmp_path, models["ref"], models["other"], store=store) for _ in range(2))
    assert first.tokens.equals(again.tokens)
    same = {"align": "bytes", "chat_template": True, "store": store}
    plan = ppldelta.plan(tmp_path / "x.jsonl", models["ref"], models["other"], **same)  # type: ignore[arg-type]
    assert "Everything is in the store" in repr(plan)


def test_a_common_stretch_ends_before_the_ends_of_turns() -> None:
    ref = Document("a", "", b"Q: why? A: So.<end>", prompt_bytes=11, plain=((3, 7), (11, 14)))
    cmp = Document("a", "", b"why?\nSo.<eot>", prompt_bytes=5, plain=((0, 4), (5, 8)))
    assert common_stretch(ref, cmp) == Stretch(11, 5, 3, True)
    assert common_stretch(ref, ref) == Stretch(11, 11, 8, True)
    part = Document("a", "", b"why?\nSoap<eot>", prompt_bytes=5, plain=((0, 4), (5, 9)))
    assert common_stretch(ref, part) == Stretch(11, 5, 2, False)


def test_spans_of_a_stretch_lie_inside_it() -> None:
    ref = np.array([0, 4, 10, 13, 15, 20], np.uint32)  # the stretch is 10 to 17
    cmp = np.array([0, 3, 6, 8, 10, 11], np.uint32)  # 3 to 10
    spans = align_stretch(ref, cmp, (10, 3), 7)
    assert spans is not None
    assert (spans.ref.tolist(), spans.cmp.tolist()) == ([2, 3, 4], [1, 2, 3])
    pos, logp = np.array([1, 2, 3, 4], np.uint32), np.array([-8, -1, -2, -4], np.float32)
    assert sums(spans.ref, pos, logp).tolist() == [-1, -2] and whole(spans.ref, pos).tolist() == [True, True]
    assert whole(spans.ref, pos[:2]).tolist() == [True, False]
    assert align_stretch(ref, cmp, (10, 3), 2) is None
