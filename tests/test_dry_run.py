"""The dry run: what it says is what a run does, and its times are measured."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import ppldelta
from ppldelta import demo
from ppldelta.cli import main
from ppldelta.engine.shards import Shard
from ppldelta.run.batches import make_batches
from ppldelta.run.dry_run import beginning, probe
from ppldelta.store.store import Store
from ppldelta.text.many import Windows
from ppldelta.text.windows import Batch, Window, cut_windows
from ppldelta.wording import numbers
from test_cli import run
from test_worker import with_f32

GOOD, OTHER = demo.COMPARISONS[:2]
QUIET = {"ref": demo.REFERENCE, "progress": False}


def test_it_takes_what_score_takes() -> None:
    assert inspect.signature(ppldelta.plan).parameters == inspect.signature(ppldelta.score).parameters


def test_a_plan_is_what_the_run_then_does(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    ppldelta.score(demo.CORPUS / "code", cmp=GOOD, n_ctx=512, windows="perplexity", store=store, **QUIET)
    settings = {"n_ctx": 512, "windows": "perplexity", "store": store, "threads": 2}
    plan = ppldelta.plan(demo.CORPUS, cmp=[GOOD, OTHER], **settings, **QUIET)
    result = ppldelta.score(demo.CORPUS, cmp=[GOOD, OTHER], **settings, **QUIET)
    assert plan.n_documents == 36
    assert plan.n_fed == result.families[0].n_fed
    assert plan.n_scored == result.documents.filter(model="tiny-code.Q8_0")["n_scored"].sum()
    assert plan.n_tokens == result.documents.filter(model="tiny-code.Q8_0")["n_tokens"].sum()
    n_code = ppldelta.plan(demo.CORPUS / "code", cmp=GOOD, **settings, **QUIET).n_windows
    assert [model.n_stored for model in plan.models] == [n_code, n_code, 0]
    assert 12 < n_code < plan.n_windows
    entries = [result.families[0].ref, *result.families[0].cmp]
    for model, entry in zip(plan.models, entries, strict=True):
        assert model.label == entry.label
        assert 0.3 < model.n_fed / model.tokens_per_s / entry.time_s < 3, "seconds of evaluation, on a busy machine"
    assert plan.time_s >= sum(model.n_fed / model.tokens_per_s for model in plan.models)
    done = ppldelta.plan(demo.CORPUS, cmp=[GOOD, OTHER], **settings, **QUIET)
    assert done.time_s == 0
    assert "no model has to be loaded" in repr(done)


def test_nothing_is_stored_but_hashes_and_checks(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    ppldelta.plan(demo.CORPUS, cmp=GOOD, store=path, **QUIET)
    with Store(path) as store:
        tables = [
            name for (name,) in store.database.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in {name.decode() for name in tables} - {"files", "checked"}:
            assert store.database.connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_the_speed_is_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe reads more and more until it lasts long enough; its time is the worker's."""
    lengths = []

    class Slow:
        def score(self, batches: list[Batch], size: object) -> object:
            lengths.append(n_fed(batches))
            yield Shard([(i, None, each.n_fed / 1000) for i, each in enumerate(batches)], "CPU")

    model = type("Participant", (), {"model": Slow()})
    assert probe(model, batches(5000, 3000), None) == pytest.approx(1000)
    assert lengths == [64, 256, 1024]
    lengths.clear()
    assert probe(model, batches(100, 20), None) == pytest.approx(1000)
    assert lengths == [64, n_fed(batches(100, 20))], "never more than there is"


def batches(*lengths: int, n_seq_max: int = 1) -> list[Batch]:
    """Those of documents of so many tokens."""
    tokens = [np.arange(n, dtype=np.int32) + 10 for n in lengths]
    documents = [(f"{len(each)}", cut_windows(each, rule="perplexity", n_ctx=512, bos=1)) for each in tokens]
    return make_batches(Windows.of(documents), n_seq_max=n_seq_max, n_ctx=512)


def n_fed(batches: list[Batch]) -> int:
    return sum(each.n_fed for each in batches)


@pytest.mark.parametrize("n_seq_max", [1, 4])
@pytest.mark.parametrize("n", [1, 7, 64, 99, 100, 101, 511, 512, 600, 10_000])
def test_the_first_windows(n: int, n_seq_max: int) -> None:
    """So many tokens, of whole windows and one that is cut in the proportions of the whole; rows fit targets."""
    whole = batches(100, 2000, 300, n_seq_max=n_seq_max)
    some = beginning(whole, n)
    assert n_fed(some) == min(n, n_fed(whole))
    assert all(len(batch.at) == len(batch.windows) > 0 for batch in some)
    for a, b in zip(windows(some), windows(whole), strict=False):
        assert len(a.targets) == len(a.tokens) - a.first_output >= 1
        assert np.array_equal(a.tokens, b.tokens[: len(a.tokens)])
        assert abs(a.first_output / len(a.tokens) - b.first_output / len(b.tokens)) <= 1 / len(a.tokens)
        following = np.append(b.tokens, b.targets[-1])
        assert np.array_equal(a.targets, following[a.first_output + 1 : len(a.tokens) + 1])


def windows(batches: list[Batch]) -> list[Window]:
    return [window for batch in batches for window in batch.windows]


def test_a_comparison_that_fails_is_named(tmp_path: Path) -> None:
    aborting = with_f32(demo.REFERENCE, tmp_path / "aborts.gguf", b"llama.attention.layer_norm_rms_epsilon", -1.0)
    plan = ppldelta.plan(demo.CORPUS / "code", cmp=[aborting, GOOD], **QUIET)
    [warning] = plan.warnings
    assert "`aborts`" in warning
    assert "; a run would leave this model out (hint: " in warning
    assert [model.tokens_per_s is None for model in plan.models] == [False, True, False]


def test_the_command_needs_no_output_folder(tmp_path: Path) -> None:
    arguments = ["score", demo.CORPUS / "prose", "--ref", demo.REFERENCE, "--cmp", GOOD, "--cmp", f"mine={OTHER}"]
    shown = run(*arguments, "--dry-run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    for part in ("documents", "tiny-ref.Q8_0 (reference)", "mine", "0 of 12 windows", "tokens/s", "3 of 3 models"):
        assert part in shown.stdout
    assert len({len(line) for line in shown.stdout.splitlines() if "tokens/s" in line}) == 1, "columns are aligned"
    assert {path.name for path in tmp_path.iterdir()} <= {"store.sqlite"}
    wrong = run(*arguments, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "-o/--output" in wrong.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0.0 s"),
        (0.01, "< 0.1 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (150, "2 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert numbers.duration(seconds) == text


def test_a_dry_run_ends_as_the_run_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = demo.CORPUS / "code" / "token_bucket.py"
    (tmp_path / "cut.gguf").write_bytes(GOOD.read_bytes()[:4096])
    arguments = ["score", str(text), "--ref", str(demo.REFERENCE), "--cmp", str(GOOD), "--dry-run"]
    assert main(arguments) == 0
    assert main([*arguments, "--cmp", str(tmp_path / "cut.gguf")]) == 1
    assert "this model is left out (hint: the file may be truncated" in capsys.readouterr().err


def test_equal_windows_are_read_once() -> None:
    text = (demo.CORPUS / "code" / "token_bucket.py").read_text()
    once = ppldelta.plan({"a": text}, cmp=GOOD, **QUIET)
    twice = ppldelta.plan({"a": text, "b": text}, cmp=GOOD, **QUIET)
    assert (twice.n_windows, twice.n_scored) == (2 * once.n_windows, 2 * once.n_scored)
    assert [twice.n_fed, *(model.n_fed for model in twice.models)] == [once.n_fed] * 3
