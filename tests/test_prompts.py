"""Rows with a prompt and a completion: the prompt is context, the completion is scored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers.tables import write_rows
from ppldelta import demo
from ppldelta.engine import native, worker
from ppldelta.engine.loaded import Shelf
from ppldelta.text.windows import RULES, completion_windows

PROMPT = "She went up past the last farm, where the road "
COMPLETION = "turns to grass, and sat down on the wall."
CMP = demo.COMPARISONS[0]


def run(files: object, **settings: object) -> ppldelta.Result:
    return ppldelta.score(files, demo.REFERENCE, CMP, progress=False, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", RULES)
def test_all_of_the_completion_is_scored_and_nothing_else(tmp_path: Path, rule: str) -> None:
    path = write_rows(tmp_path / "x.jsonl", {"prompt": PROMPT.rstrip(), "completion": f" {COMPLETION}"})
    result = run(path, windows=rule)
    assert "window rule" not in repr(result), "it decides nothing here"
    tokens = result.tokens
    whole = run({"x": PROMPT + COMPLETION}, windows="every").tokens
    begin = len(PROMPT) - 1
    assert tokens["byte_start"][0] == begin and tokens["byte_end"][-1] == len(PROMPT + COMPLETION)
    same = whole.filter(whole["byte_start"] >= begin)
    for column in ("pos", "token", "byte_start", "byte_end"):
        assert tokens[column].to_list() == same[column].to_list()
    # completions are read without flash attention, which rounds the demo's models otherwise; so is a longer completion
    first, _, rest = PROMPT.partition(" ")
    longer = run(write_rows(tmp_path / "y.jsonl", {"prompt": first, "completion": f" {rest}{COMPLETION}"})).tokens
    same = longer.filter(longer["byte_start"] >= begin)
    for column in ("logp_ref", "logp_cmp"):
        np.testing.assert_allclose(tokens[column], same[column], atol=1e-4)


@pytest.mark.parametrize("kld", [False, True])
def test_texts_and_prompts_in_turns_make_two_contexts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kld: bool
) -> None:
    """Texts are evaluated with flash attention and completions without, which one context cannot."""
    monkeypatch.setattr(worker, "_shelf", Shelf(2**30))  # without contexts of other tests
    made: list[str] = []
    make = native.Scorer._made
    monkeypatch.setattr(native.Scorer, "_made", lambda scorer: made.append(scorer.model.path) or make(scorer))
    texts = [{"id": f"text {i}", "text": f"{PROMPT}{i}"} for i in range(3)]
    prompts = [{"id": f"prompt {i}", "prompt": f"{PROMPT}{i}", "completion": " miles."} for i in range(3)]
    table, of_texts, of_prompts = (tmp_path / f"{name}.jsonl" for name in ("both", "texts", "prompts"))
    write_rows(table, *(row for pair in zip(texts, prompts, strict=True) for row in pair))
    with ThreadPoolExecutor(1) as executor:  # in this process
        both = run(table, kld=kld, store=None, executor=executor).tokens
    assert len(made) == 4, "two for each model"
    alone = [run(write_rows(path, *rows), kld=kld, store=None) for path, rows in
             ((of_texts, texts), (of_prompts, prompts))]  # fmt: skip
    assert both.sort("document", "pos").equals(pl.concat([each.tokens for each in alone]).sort("document", "pos"))


def test_a_token_across_the_border_belongs_to_the_completion(tmp_path: Path) -> None:
    """As with lm-evaluation-harness, which moves the spaces at the prompt's end to the completion."""
    rows = [
        {"prompt": PROMPT, "completion": COMPLETION},
        {"prompt": PROMPT.rstrip(), "completion": f" {COMPLETION}"},
    ]
    one, other = run(write_rows(tmp_path / "x.jsonl", *rows)).tokens.partition_by("document")
    assert one.drop("document").equals(other.drop("document"))


def test_a_result_says_group_and_label_and_keeps_them(tmp_path: Path) -> None:
    rows = [
        {"prompt": PROMPT, "completion": "turns.", "group": "road", "label": "comply"},
        {"prompt": PROMPT, "completion": "ends.", "group": "road", "label": "refuse", "category": "c"},
        {"text": COMPLETION},
    ]
    result = run(write_rows(tmp_path / "x.jsonl", *rows))
    want = [("road", "comply", ""), ("road", "refuse", "c"), (None, None, "")]
    assert result.documents.select("group", "label", "category").rows() == want
    result.save(tmp_path / "out")
    assert ppldelta.load(tmp_path / "out").documents.equals(result.documents)


def test_a_prompt_that_does_not_fit_is_cut_on_its_left(tmp_path: Path) -> None:
    rows = [{"prompt": PROMPT * 20, "completion": COMPLETION}, {"prompt": PROMPT, "completion": COMPLETION}]
    path = write_rows(tmp_path / "x.jsonl", *rows, rows[0])
    result = run(path, n_ctx=64)
    (warning,) = result.warnings
    assert "of 2 documents have more than 64 tokens" in warning
    assert "is cut off: `x.jsonl:1`, `x.jsonl:3`. A larger" in warning
    long, short, _ = result.tokens.partition_by("document")
    assert long["token"].to_list() == short["token"].to_list()
    assert long["pos"][-1] == result.documents["n_tokens"][0] - 1
    assert not run(path, n_ctx=1024).warnings
    assert not np.allclose(run(path, n_ctx=1024).tokens["logp_ref"][:3], long["logp_ref"][:3], atol=1e-3)


@pytest.mark.parametrize("bos", [None, 1])
@pytest.mark.parametrize(
    ("n_prompt", "n"), [(0, 1), (0, 9), (3, 4), (3, 9), (8, 9), (5, 11), (30, 40), (2, 60), (9, 9)]
)
def test_windows_score_each_token_behind_the_prompt_once(n_prompt: int, n: int, bos: int | None) -> None:
    tokens = np.arange(100, 100 + n)
    windows = completion_windows(tokens, n_prompt=n_prompt, n_ctx=10, bos=bos)
    first = max(n_prompt, bos is None)
    assert [token for window in windows for token in window.targets] == list(range(100 + first, 100 + n))
    for window in windows:
        assert len(window.tokens) <= 10
        assert list(window.targets) == [100 + pos for pos in window.pos]
        stream = [*window.tokens, int(window.targets[-1])]
        assert stream[window.first_output + 1 :] == list(window.targets)
        own = [token for token in stream if token != bos]
        assert own == list(range(own[0], own[-1] + 1))
    if windows and n - n_prompt <= 10:
        assert len(windows) == 1 and len(windows[0].tokens) == min(10, n - (bos is None))


def test_lockstep_and_the_store_know_prompts(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "x.jsonl", {"prompt": PROMPT, "completion": COMPLETION})
    plain = run(path, store=tmp_path / "s")
    paired = run(path, kld=True, store=tmp_path / "s")
    assert paired.tokens["logp_cmp"].equals(plain.tokens["logp_cmp"])
    assert paired.tokens["kld"].null_count() == 0
    again = ppldelta.plan(path, demo.REFERENCE, CMP, progress=False, store=tmp_path / "s")
    assert "nothing is left" in repr(again) or "in the store" in repr(again)
