"""Runs on windows that share prefixes: plain, in lockstep, with a noise floor, and what a dry run says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ppldelta
from ppldelta import demo
from ppldelta.run import lockstep
from ppldelta.text.windows import Window, completion_windows

PROMPT = (demo.CORPUS / "prose" / "plum_dumplings.txt").read_text()[:900]
TEXTS = {f"{name}.txt": f"{PROMPT} {name} goes on in its own way. " for name in ("One", "Two", "Three", "Four", "Five")}


@pytest.fixture(autouse=True)
def _completions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every document is a prompt of 200 tokens and a completion."""

    def cut(tokens: NDArray[np.int32], *, n_ctx: int, bos: int | None, **_: object) -> list[Window]:
        return completion_windows(tokens, n_prompt=200, n_ctx=n_ctx, bos=bos)

    monkeypatch.setattr("ppldelta.run.tokenization.cut_windows", cut)


def score(texts: dict[str, str] = TEXTS, **settings: object) -> ppldelta.Result:
    options = {"n_ctx": 512, "store": None, "progress": False} | settings
    return ppldelta.score(texts, demo.REFERENCE, demo.COMPARISONS[0], **options)  # type: ignore[arg-type]


def test_lockstep_and_a_document_alone_give_the_numbers_of_a_plain_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = score().tokens
    assert plain["document"].n_unique() == len(TEXTS)
    columns = ["document", "pos", "token", "logp_ref", "logp_cmp"]
    paired = score(kld=True, top_k=2).tokens
    assert paired.select(columns).equals(plain.select(columns)) and paired["kld"].null_count() == 0
    monkeypatch.setattr(lockstep, "MOST_ROWS", 10)  # in several batches
    assert score(kld=True, top_k=2).tokens.equals(paired)
    for name, text in TEXTS.items():
        mine = score({name: text}).tokens.select("logp_ref", "logp_cmp")
        assert mine.equals(plain.filter(plain["document"] == name).select("logp_ref", "logp_cmp"))


def test_a_noise_floor_of_completions_is_not_moved_by_how_they_are_cut() -> None:
    found = score(noise_floor=True)
    changes = {each.change: each for each in found.families[0].noise}
    assert changes["n_ubatch 64"].delta_max == changes["threads 1"].delta_max == 0
    assert max(each.delta_max for each in changes.values()) > 0


def test_a_dry_run_counts_the_prefix_once(tmp_path: Path) -> None:
    settings = {"n_ctx": 512, "store": tmp_path / "store.sqlite", "progress": False}
    plan = ppldelta.plan(TEXTS, demo.REFERENCE, demo.COMPARISONS[0], **settings)
    tokens = score().documents["n_tokens"].to_list()
    assert plan.n_fed == 199 + sum(n - 199 for n in tokens)  # BOS, no last token; the prompt's last two each time
    score(store=tmp_path / "store.sqlite")
    assert [model.n_fed for model in ppldelta.plan(TEXTS, demo.REFERENCE, demo.COMPARISONS[0], **settings).models] == [
        0,
        0,
    ]
