"""The best tokens of both models (`top_k`): against full logits, through the store, to the saved result."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers.llama_ctypes import full_logits, log_softmax
from ppldelta import _core, demo, pairs, schema
from ppldelta.engine import native, worker
from ppldelta.engine.native import Model, Scorer
from ppldelta.errors import PpldeltaError, StoreError
from ppldelta.run.settings import Settings
from ppldelta.store.keys import Key
from ppldelta.store.store import Store
from ppldelta.text.windows import cut_windows

PROSE = sorted((demo.CORPUS / "prose").glob("*.txt"))[:2]
CMP = demo.COMPARISONS[2]
QUIET = {"ref": demo.REFERENCE, "progress": False, "n_ctx": 128}


@pytest.fixture(scope="module")
def result() -> ppldelta.Result:
    return ppldelta.score(PROSE, cmp=[CMP, demo.COMPARISONS[0]], top_k=4, store=None, **QUIET)


def test_best_tokens_are_those_of_full_logits() -> None:
    """An independent path: ctypes with the same micro-batches, all rows, log-softmax in float64."""
    ref, cmp = Model(demo.REFERENCE), Model(CMP)
    window = cut_windows(ref.tokenize(PROSE[0].read_bytes()), rule="perplexity", n_ctx=256, bos=ref.info.bos)[0]
    _, rows = Scorer(ref, n_ctx=256, n_ubatch=128, threads=2).keep([window], top_k=5)
    _, (found,) = Scorer(cmp, n_ctx=256, n_ubatch=128, threads=2).compare([window], rows)
    steps = [range(*part[1:]) for (part,) in _core.cut([(len(window.tokens), window.first_output)], 128, 128)]
    for name, model in (("ref", ref), ("cmp", cmp)):
        logits = full_logits(model.path, window.tokens, 128, steps)[window.first_output :]
        best = np.argsort(-logits, axis=1, kind="stable")[:, :5]
        assert np.array_equal(found[f"top_tokens_{name}"], best)
        expected = np.take_along_axis(log_softmax(logits), best, axis=1)
        assert found[f"top_logp_{name}"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_columns(result: ppldelta.Result) -> None:
    tokens = result.tokens
    assert tokens.select(schema.TOPS).null_count().row(0) == (0, 0, 0, 0)
    assert tokens.select(pl.col(schema.TOPS).list.len().unique()).row(0) == (4, 4, 4, 4)
    assert tokens.null_count().select(schema.PAIR).row(0) == (0,) * len(schema.PAIR), "it implies `kld`"
    same = pl.col("top_tokens_ref").list.first() == pl.col("top_tokens_cmp").list.first()
    assert tokens.select((same == pl.col("same_top")).all()).item()
    for name in ("ref", "cmp"):  # a token that came next and is among the best has the rank that its place says
        at = pl.col(f"top_tokens_{name}").list.eval(pl.element())
        rows = tokens.select("token", f"rank_{name}", f"logp_{name}", at, f"top_logp_{name}").rows()
        hits = [(row, row[3].index(row[0])) for row in rows if row[0] in row[3]]
        assert len(hits) > 50
        assert all(row[1] == place + 1 and row[2] == row[4][place] for row, place in hits)
    plain = ppldelta.score(PROSE, cmp=[CMP, demo.COMPARISONS[0]], kld=True, store=None, **QUIET)
    assert plain.tokens.drop(schema.TOPS).equals(tokens.drop(schema.TOPS))
    assert plain.tokens.null_count().select(schema.TOPS).row(0) == (len(tokens),) * 4


def test_pieces_hold_every_token(result: ppldelta.Result, tmp_path: Path) -> None:
    best = result.tokens.select(pl.concat_list("top_tokens_ref", "top_tokens_cmp").explode().unique()).to_series()
    assert set(best) - set(result.tokens["token"]), "some tokens are in no text"
    assert set(best) <= set(result.pieces["token"])
    assert result.pieces["token"].is_sorted() and result.pieces["token"].is_unique().all()
    model = Model(demo.REFERENCE)
    assert result.pieces["piece"].to_list() == model.pieces(result.pieces["token"].to_numpy().copy())
    result.save(tmp_path / "out")
    again = ppldelta.load(tmp_path / "out")
    assert again.tokens.equals(result.tokens) and again.pieces.equals(result.pieces)


def test_the_commands_ask_for_them(result: ppldelta.Result, tmp_path: Path) -> None:
    result.card(tmp_path)
    page = result.report(tmp_path / "report.html").read_text(encoding="utf-8")
    for text in ((tmp_path / "card.md").read_text(), (tmp_path / "results.json").read_text(), page):
        assert "--top-k 4 -o out" in text


def test_more_than_the_vocabulary_has() -> None:
    model = Model(demo.REFERENCE)
    small = replace(model.info, n_vocab=17)
    assert Settings(top_k=100).resolve(small, native.build()).top_k == 17
    assert Settings(top_k=100).resolve(model.info, native.build()).top_k == 100
    with pytest.raises(PpldeltaError, match="`top_k` must lie between 0 and 100, got 101"):
        Settings(top_k=101)
    with pytest.raises(PpldeltaError, match="`top_k` must be a whole number"):
        Settings(top_k=True)


def test_a_run_with_fewer_more_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store.sqlite"
    four = ppldelta.score(PROSE, cmp=CMP, top_k=4, store=store, **QUIET)

    def stored(top_k: int) -> list[int]:
        """For each model the windows that need no evaluation."""
        plan = ppldelta.plan(PROSE, cmp=CMP, top_k=top_k, store=store, **QUIET)
        return [plan.n_windows - each.n_stored for each in plan.models]

    assert stored(4) == stored(2) == stored(0) == [0, 0]
    n_all = stored(6)[0]
    assert n_all > 0 and stored(6) == [n_all, n_all]
    monkeypatch.setattr(worker, "score_pairs", None)
    monkeypatch.setattr(worker, "score", None)
    again = ppldelta.score(PROSE, cmp=CMP, top_k=4, store=store, **QUIET)
    assert again.tokens.equals(four.tokens) and again.pieces.equals(four.pieces)
    two = ppldelta.score(PROSE, cmp=CMP, top_k=2, store=store, **QUIET)
    assert two.tokens.equals(four.tokens.with_columns(pl.col(schema.TOPS).list.head(2)))
    none = ppldelta.score(PROSE, cmp=CMP, kld=True, store=store, **QUIET)
    assert none.tokens.drop(schema.TOPS).equals(four.tokens.drop(schema.TOPS))
    monkeypatch.undo()
    six = ppldelta.score(PROSE, cmp=CMP, top_k=6, store=store, **QUIET)
    assert six.tokens.with_columns(pl.col(schema.TOPS).list.head(4)).equals(four.tokens)
    assert stored(6) == [0, 0]


def test_a_run_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    """Of some windows the store has all, of some the record without the best tokens."""
    store = tmp_path / "store.sqlite"
    ppldelta.score(PROSE, cmp=CMP, kld=True, store=store, **QUIET)
    ppldelta.score(PROSE[:1], cmp=CMP, top_k=4, store=store, **QUIET)
    plan = ppldelta.plan(PROSE, cmp=CMP, top_k=4, store=store, **QUIET)
    assert 0 < plan.models[0].n_stored == plan.models[1].n_stored < plan.n_windows
    whole = ppldelta.score(PROSE, cmp=CMP, top_k=4, store=store, **QUIET)
    assert whole.tokens.equals(ppldelta.score(PROSE, cmp=CMP, top_k=4, store=None, **QUIET).tokens)


@pytest.mark.parametrize("damage", ["substr(logp, 1, length(logp) - 4)", "zeroblob(length(logp))", "logp || x'00'"])
def test_a_damaged_store_is_refused(tmp_path: Path, damage: str) -> None:
    store = tmp_path / "store.sqlite"
    ppldelta.score(PROSE, cmp=CMP, top_k=4, store=store, **QUIET)
    with sqlite3.connect(store) as connection:
        of_tops = "SELECT id FROM passes WHERE top_k > 0"
        assert connection.execute(f"UPDATE shards SET logp = {damage} WHERE pass IN ({of_tops})").rowcount > 0
    connection.close()
    with pytest.raises(StoreError, match="does not hold the values that were written"):
        ppldelta.score(PROSE, cmp=CMP, top_k=4, store=store, **QUIET)


def test_a_store_of_schema_5_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    before = ppldelta.score(PROSE, cmp=CMP, kld=True, store=path, **QUIET)
    with sqlite3.connect(path) as connection:  # as schema 5 had it
        connection.executescript(
            "ALTER TABLE passes RENAME TO new; CREATE TABLE passes (id INTEGER PRIMARY KEY, model BLOB NOT NULL, "
            "reference BLOB NOT NULL, rule TEXT NOT NULL, engine TEXT NOT NULL, used INTEGER NOT NULL, "
            "UNIQUE (model, reference, rule, engine)); INSERT INTO passes SELECT id, model, reference, rule, engine, "
            "used FROM new; DROP TABLE new; PRAGMA user_version = 5"
        )
    connection.close()
    plan = ppldelta.plan(PROSE, cmp=CMP, kld=True, store=path, **QUIET)
    assert all(each.n_stored == each.n_windows > 0 for each in plan.models)
    assert ppldelta.score(PROSE, cmp=CMP, kld=True, store=path, **QUIET).tokens.equals(before.tokens)
    assert ppldelta.score(PROSE, cmp=CMP, top_k=2, store=path, **QUIET).tokens["top_logp_ref"].null_count() == 0


def test_values_in_the_store(tmp_path: Path) -> None:
    key = Key("00" * 32, "11" * 32, "rule", "engine", "22" * 32, 3)
    rng = np.random.default_rng(1)
    values = np.zeros(5, pairs.tops(3))
    values["top_tokens_cmp"], values["top_logp_ref"] = rng.integers(0, 99, (5, 3)), rng.standard_normal((5, 3))
    with Store(tmp_path / "store.sqlite") as store:
        store.put_many([(key, values, 1.0)])
        (found,) = store.get([key]).values()
        assert np.array_equal(found, values) and found.dtype == values.dtype
        assert store.wider(key) == [3]
        assert store.known([Key(*key.settings[:1], key.window, "rule", "engine", "22" * 32)]) == set()
