"""Whole runs in which short documents share batches: forced here on the CPU, as if a GPU were there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ppldelta
from ppldelta import demo
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.run.settings import ResolvedSettings, Settings
from ppldelta.store.store import Store


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a GPU were there."""
    pack(monkeypatch)


def pack(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = Settings.resolve

    def packed(settings: Settings, info: ModelInfo, where: Build) -> ResolvedSettings:
        return replace(resolve(settings, info, where), n_seq_max=5)

    monkeypatch.setattr(Settings, "resolve", packed)


CORPUS = {
    f"a/{i:02}": f"Boat {i} lay on its side. " + "The tide was out and nobody was about. " * (1 + i % 7)
    for i in range(23)
} | {"b/long": (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()}
SCORE = {"ref": demo.REFERENCE, "cmp": [demo.COMPARISONS[0]], "n_ctx": 256, "windows": "every", "progress": False}


def test_a_packed_run_is_the_same_again_and_close_to_one_window_per_call(packing: None) -> None:
    first = ppldelta.score(CORPUS, **SCORE)
    assert "|n_seq_max:5|" in first.signature
    assert ppldelta.score(CORPUS, **SCORE).tokens.equals(first.tokens)  # from the store
    assert ppldelta.score(CORPUS, **{**SCORE, "store": None}).tokens.equals(first.tokens)
    itself = ppldelta.score(CORPUS, **{**SCORE, "cmp": {"same": demo.REFERENCE}, "store": None})
    assert (itself.tokens["delta"] == 0).all()


def test_a_packed_run_goes_on_where_it_stopped(packing: None, tmp_path: Path) -> None:
    """Batches of which some are in the store: the others' numbers go where they belong."""
    path = tmp_path / "s.sqlite"
    whole = ppldelta.score(CORPUS, **SCORE, store=path)
    with Store(path) as store:
        n_before = store.database.connection.execute("SELECT count(*) FROM shards").fetchone()[0]
        store.database.connection.execute("DELETE FROM shards WHERE id % 2")
    assert n_before > 3
    assert ppldelta.score(CORPUS, **SCORE, store=path).tokens.equals(whole.tokens)


def test_packed_and_alone_are_close_and_kept_apart_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = ppldelta.score(CORPUS, **SCORE)
    assert "|n_seq_max:1|" in alone.signature
    pack(monkeypatch)
    packed = ppldelta.score(CORPUS, **SCORE)
    assert packed.tokens.select("document", "pos", "token").equals(alone.tokens.select("document", "pos", "token"))
    for side in ("logp_ref", "logp_cmp"):
        difference = (packed.tokens[side] - alone.tokens[side]).to_numpy()
        assert 0 < np.abs(difference).max() <= 0.2
        assert abs(difference.mean()) <= 1e-3
