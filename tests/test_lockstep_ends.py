"""Lockstep where processes really die, vocabularies really differ, and workers are others than the local one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import ppldelta
from helpers import tiny_models
from ppldelta import demo, schema
from ppldelta.engine import remote
from ppldelta.engine.remote import RemoteModel
from test_dask import connected, in_time, running, scheduler
from test_worker import process_id, with_f32

PROSE = sorted((demo.CORPUS / "prose").glob("*.txt"))[:3]
QUIET = {"progress": False, "store": None, "n_ctx": 128, "kld": True}
GOOD, OTHER = demo.COMPARISONS[:2]


@pytest.fixture
def aborting(tmp_path: Path) -> Path:
    """A model that loads and has a context, and at which ggml aborts: its norms have a negative epsilon."""
    return with_f32(demo.REFERENCE, tmp_path / "aborts.gguf", b"llama.attention.layer_norm_rms_epsilon", -1.0)


@pytest.fixture(scope="module")
def whole() -> ppldelta.Result:
    return ppldelta.score(PROSE, demo.REFERENCE, [GOOD, OTHER], **QUIET)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task for each window, so that several workers get some."""
    monkeypatch.setattr(remote, "_FIRST_PAIRED_TOKENS", 1)
    monkeypatch.setattr(remote, "_PAIRED_SHARD_S", 0.0)


# --- processes that die ---------------------------------------------------------------------------------------------


def test_a_comparison_at_which_ggml_aborts_is_left_out(aborting: Path, whole: ppldelta.Result, fresh: None) -> None:
    result = ppldelta.score(PROSE, demo.REFERENCE, [GOOD, aborting, OTHER], **QUIET)
    assert result.left_out == {"comparison": ["aborts"]}
    (warning,) = result.warnings
    for part in ("comparing `aborts`", "SIGABRT", "GGML_ASSERT(eps >= 0.0f) failed", "is left out"):
        assert part in warning
    assert result.tokens.equals(whole.tokens)


def test_a_comparison_alone_at_which_ggml_aborts_is_an_error(aborting: Path) -> None:
    with pytest.raises(ppldelta.ModelError, match="comparing `aborts` was ended by SIGABRT"):
        ppldelta.score(PROSE, demo.REFERENCE, aborting, **QUIET)


@pytest.mark.parametrize("n_comparisons", [1, 2])
def test_a_reference_at_which_ggml_aborts_is_named(aborting: Path, n_comparisons: int) -> None:
    """Not a comparison, although any of them could have ended the process."""
    with pytest.raises(ppldelta.ModelError, match="`aborts` was ended by SIGABRT"):
        ppldelta.score(PROSE, aborting, [GOOD, OTHER][:n_comparisons], **QUIET)


def test_a_worker_killed_in_the_middle_costs_nothing_but_time(
    whole: ppldelta.Result, monkeypatch: pytest.MonkeyPatch, small_shards: None, fresh: None
) -> None:
    """Of several comparisons none is blamed for it: each goes on alone from where the process was ended."""
    killed, begun = [], []
    score_pairs = RemoteModel.score_pairs

    def once(
        self: RemoteModel, comparisons: list, batches: list, size: object, on_tokens: Callable, *rest: object
    ) -> Iterator[object]:
        begun.append((len(comparisons), len(batches)))
        pid = self._session.call(process_id, label="", doing="")

        def kill(n_tokens: int) -> None:
            on_tokens(n_tokens)
            if n_tokens and not killed and len(found) > 3:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

        found: list[object] = []
        for shard in score_pairs(self, comparisons, batches, size, kill, *rest):
            found.append(shard)
            yield shard

    monkeypatch.setattr(RemoteModel, "score_pairs", once)
    result = ppldelta.score(PROSE, demo.REFERENCE, [GOOD, OTHER], **QUIET)
    assert len(killed) == 1
    (_, n_all), *alone = begun
    assert [n for n, _ in alone] == [1, 1] and all(n < n_all for _, n in alone), "what was done is not done again"
    assert result.warnings == [] and result.left_out == {}
    assert result.tokens.equals(whole.tokens)


# --- vocabularies ---------------------------------------------------------------------------------------------------


def test_a_vocabulary_with_more_entries_has_deltas_and_no_divergence(tmp_path: Path) -> None:
    """Both files split texts into the same tokens; in one of them some tokens are in no text."""
    ref = tiny_models.write(tmp_path / "ref.gguf", "llama")
    same = tiny_models.write(tmp_path / "same.gguf", "llama", seed=1)
    longer = tiny_models.write(tmp_path / "longer.gguf", "llama", seed=2, n_unused=8)
    result = ppldelta.score(PROSE[:1], ref, [same, longer], max_windows=3, **QUIET)
    assert result.left_out == {"divergence": ["longer"]}
    (warning,) = result.warnings
    assert "`longer` has a vocabulary of 264 entries, the reference one of 256" in warning
    of = {name: frame for (name,), frame in result.tokens.partition_by("model", as_dict=True).items()}
    assert of["same"].select(schema.PAIR).null_count().sum_horizontal().item() == 0
    assert all(of["longer"][name].null_count() == len(of["longer"]) for name in schema.PAIR)
    assert of["longer"]["delta"].null_count() == 0 and of["longer"]["delta"].abs().max() > 0
    alone = ppldelta.score(PROSE[:1], ref, longer, max_windows=3, **QUIET)
    assert alone.tokens["delta"].equals(of["longer"]["delta"])


# --- other executors ------------------------------------------------------------------------------------------------


def test_other_processes_give_the_same_numbers(whole: ppldelta.Result, small_shards: None) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        there = ppldelta.score(PROSE, demo.REFERENCE, [GOOD, OTHER], threads=1, executor=executor, **QUIET)
    assert there.tokens.equals(whole.tokens)
    assert there.signature == whole.signature


def test_an_abort_in_another_executor_is_not_survived(aborting: Path) -> None:
    """A pool of processes is broken by it, and nothing can be tried again there."""
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
        pytest.raises(ppldelta.ModelError, match="ended unexpectedly"),
    ):
        ppldelta.score(PROSE, demo.REFERENCE, [GOOD, aborting], executor=executor, **QUIET)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with scheduler() as (_, address), running("worker", address, "--nworkers", 2, "--nthreads", 1):
        yield address


def test_a_dask_cluster_gives_the_same_numbers(whole: ppldelta.Result, address: str, small_shards: None) -> None:
    with connected(address, 2) as client:
        run = {**QUIET, "executor": client.get_executor(), "threads": 1}
        there = in_time(lambda: ppldelta.score(PROSE, demo.REFERENCE, [GOOD, OTHER], **run))
    assert there.tokens.equals(whole.tokens)
    assert there.warnings == []


def test_a_dask_cluster_leaves_out_what_ends_its_workers(
    aborting: Path, whole: ppldelta.Result, address: str, small_shards: None
) -> None:
    with connected(address, 2) as client:
        run = {**QUIET, "executor": client.get_executor(), "threads": 1}
        result = in_time(lambda: ppldelta.score(PROSE, demo.REFERENCE, [GOOD, aborting, OTHER], **run))
    assert result.left_out == {"comparison": ["aborts"]}
    assert result.tokens.equals(whole.tokens)
