"""Models in worker processes: real processes that abort, are killed, are interrupted, or outlive a call."""

from __future__ import annotations

import contextlib
import logging
import os
import pty
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from conftest import alive, children, n_kept, until
from ppldelta import demo
from ppldelta.engine import llama_log, loaded, local, remote
from ppldelta.engine.loaded import ContextSize, PinnedSource, Shelf, Weights
from ppldelta.engine.native import Model, Scorer
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.session import Session
from ppldelta.models.references import resolve
from ppldelta.models.source import ModelSource
from ppldelta.run.settings import Settings
from ppldelta.run.tokenization import tokenize
from ppldelta.text.documents import load_documents
from ppldelta.text.windows import Batch, cut_windows

GOOD, OTHER = demo.COMPARISONS[:2]
TEXT = (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()
LONG = "\n".join(path.read_text() for path in sorted(demo.CORPUS.glob("prose/*.txt"))) * 40
QUIET = {"ref": demo.REFERENCE, "progress": False}
SIZE = ContextSize(n_ctx=2048, n_ubatch=128, threads=2, n_outputs_max=128, n_seq_max=1)


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Ctrl-C raises, also where the tests were started in the background by a shell that ignores it there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def worker_pid() -> int:
    (idle,) = local.idle
    (pid,) = idle.executor._processes
    return pid


def with_f32(source: Path, path: Path, key: bytes, value: float) -> Path:
    """A copy of a GGUF with another value of a float of its metadata."""
    data = bytearray(source.read_bytes())
    at = data.index(struct.pack("<Q", len(key)) + key) + 8 + len(key)
    assert int.from_bytes(data[at : at + 4], "little") == 6  # GGUF_TYPE_FLOAT32
    struct.pack_into("<f", data, at + 4, value)
    path.write_bytes(data)
    return path


@pytest.fixture
def aborting(tmp_path: Path) -> Path:
    """A model that loads and has a context, and at which ggml aborts: its norms have a negative epsilon."""
    return with_f32(demo.REFERENCE, tmp_path / "aborts.gguf", b"llama.attention.layer_norm_rms_epsilon", -1.0)


# --- numbers --------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_a_scorer_in_this_process(demo_result: ppldelta.Result) -> None:
    model = Model(GOOD)
    everything = demo_result.tokens.with_columns(pl.col("document", "model").cast(pl.String))
    for path in sorted(demo.CORPUS.glob("prose/*.txt"))[:3]:
        windows = cut_windows(
            model.tokenize(path.read_bytes()), rule="every", n_ctx=2048, bos=model.info.bos, max_windows=None
        )
        scorer = Scorer(model, n_ctx=2048, n_ubatch=128, threads=2)
        direct = np.concatenate([scorer.score(window) for window in windows])
        ours = everything.filter(document=f"prose/{path.name}", model="tiny-code.Q8_0")
        assert np.array_equal(ours["logp_cmp"].to_numpy(), direct)


def test_threads_give_the_same_numbers(demo_result: ppldelta.Result) -> None:
    with ThreadPoolExecutor(2) as executor:
        result = ppldelta.score(demo.CORPUS, demo.REFERENCE, demo.COMPARISONS, progress=False, executor=executor)
    assert result.tokens.equals(demo_result.tokens)
    assert result.signature == demo_result.signature


def test_other_processes_give_the_same_numbers() -> None:
    here = ppldelta.score(demo.CORPUS / "prose", cmp=GOOD, **QUIET)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        there = ppldelta.score(demo.CORPUS / "prose", cmp=GOOD, threads=1, executor=executor, **QUIET)
    assert there.tokens.equals(here.tokens)


# --- ends of a worker -----------------------------------------------------------------------------------------------


def test_an_abort_of_ggml_is_a_model_error_and_the_others_go_on(aborting: Path) -> None:
    result = ppldelta.score({"prose/a": TEXT}, cmp=[aborting, GOOD], **QUIET)
    assert result.models["model"].unique().to_list() == ["tiny-code.Q8_0"]
    (warning,) = result.warnings
    for part in ("evaluating `aborts`", "SIGABRT", "at `prose/a`", "GGML_ASSERT(eps >= 0.0f) failed", "is left out"):
        assert part in warning
    assert "\n" not in warning
    with pytest.raises(ppldelta.ModelError, match="SIGABRT"):
        ppldelta.score({"prose/a": TEXT}, cmp=aborting, **QUIET)
    with pytest.raises(ppldelta.ModelError, match="SIGABRT"):
        ppldelta.score({"prose/a": TEXT}, aborting, GOOD, progress=False)


def test_an_abort_in_another_executor_too(aborting: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        with pytest.raises(ppldelta.ModelError, match=r"evaluating `aborts` ended unexpectedly, near `a`"):
            ppldelta.score({"a": TEXT}, cmp=aborting, executor=executor, **QUIET)
        with pytest.raises(ppldelta.ModelError, match="loading `tiny-ref"):
            ppldelta.score({"a": TEXT}, cmp=GOOD, executor=executor, **QUIET)


def test_a_kill_in_the_middle_names_model_and_document(fresh: None) -> None:
    with Session() as session:
        model = RemoteModel(session, resolve(demo.REFERENCE))
        model.load()
        pid = session.call(process_id, label="", doing="")

        def kill(n_tokens: int) -> None:
            if n_tokens:
                os.kill(pid, signal.SIGKILL)

        batches = batches_of(model, {"a": TEXT, "b": LONG, "c": TEXT})
        with pytest.raises(ppldelta.ModelError, match=r"`tiny-ref.Q8_0` was ended by SIGKILL, at `[ab]`") as caught:
            list(model.score(batches, SIZE, kill))
        assert "memory" in caught.value.hint
        assert session.call(process_id, label="", doing="") != pid


def process_id(run: int) -> int:
    return os.getpid()


def batches_of(model: RemoteModel, texts: dict[str, str]) -> list[Batch]:
    documents, _ = load_documents(texts)
    settings = Settings(n_ctx=2048, n_gpu_layers=0).resolve(model.info, model.build)
    return tokenize(documents, model, settings)[0].batches


def test_a_worker_that_ended_while_idle_is_replaced(fresh: None) -> None:
    ppldelta.score({"a": TEXT}, cmp=GOOD, **QUIET)
    os.kill(worker_pid(), signal.SIGKILL)
    time.sleep(0.5)
    assert ppldelta.score({"a": TEXT}, cmp=GOOD, **QUIET).warnings == []


def test_what_ggml_logged_before_an_abort_is_on_stderr(aborting: Path) -> None:
    """Lines that nobody has fetched from the extension yet: where a backend fails, they say why."""
    code = """
import sys
import numpy as np
from ppldelta import _core
window = (np.arange(8, dtype=np.int32), 4, np.arange(4, dtype=np.int32), 0)
model = _core.Model(sys.argv[1].encode(), 0, False)
_core.Scorer(model, 256, 128, 128, 1, 1).score([window], lambda n: None)
"""
    ran = subprocess.run([sys.executable, "-c", code, aborting], capture_output=True, text=True, timeout=60)
    assert ran.returncode == -signal.SIGABRT
    *before, last = ran.stderr.strip().splitlines()
    assert "GGML_ASSERT(eps >= 0.0f) failed" in last
    assert len(before) == 16
    assert any("compute buffer size" in line for line in before)


def test_llama_cpps_log_is_in_the_workers_file_at_once_and_comes_back_where_it_is_wanted(
    fresh: None, caplog: pytest.LogCaptureFixture
) -> None:
    with Session() as session:
        RemoteModel(session, resolve(GOOD)).load()
        assert "load_tensors: " in session._local.stderr.read_text()
        assert caplog.messages == []
        with caplog.at_level(logging.DEBUG, llama_log.logger.name):
            RemoteModel(session, resolve(OTHER)).load()
        assert any(message.startswith("load_tensors: ") for message in caplog.messages)


# --- calls ----------------------------------------------------------------------------------------------------------


def test_models_stay_loaded_between_calls(fresh: None) -> None:
    first = ppldelta.score({"a": TEXT}, cmp=GOOD, **QUIET)
    pid = worker_pid()
    second = ppldelta.score({"a": TEXT}, cmp=GOOD, **QUIET)
    assert worker_pid() == pid
    assert second.tokens.equals(first.tokens)
    with Session() as session:
        assert session.call(n_kept, label="", doing="") == 2


def test_an_executor_that_is_none_is_refused() -> None:
    with pytest.raises(
        ppldelta.PpldeltaError, match=r"`executor` must be a concurrent\.futures\.Executor, got 3 \(int\)"
    ):
        ppldelta.score({"a": TEXT}, cmp=GOOD, executor=3, **QUIET)


def test_the_time_of_a_load_counts_whoever_asked_for_it(fresh: None) -> None:
    with Session() as session:
        model = RemoteModel(session, resolve(GOOD))
        assert model.load_s == 0
        model.look()
        assert (at_first := model.load_s) > 0
        model.load()  # it is there
        assert model.load_s == at_first


def test_a_changed_file_is_loaded_again_or_refused(fresh: None, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GOOD.read_bytes())
    with Session() as session:
        model = RemoteModel(session, resolve(path))
        model.load()
        path.write_bytes(OTHER.read_bytes())
        assert RemoteModel(session, resolve(path)).load() != model.info
        os.utime(path, ns=(1, 1))
        stale = RemoteModel(session, resolve(path))
        os.utime(path)
        with pytest.raises(ppldelta.ModelError, match="has changed since the run began"):
            stale.load()


def test_kept_models_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[bool] = []  # whether with weights

    class Counted(loaded._Loaded):
        def __init__(self, pinned: PinnedSource, weights: bool) -> None:
            loads.append(weights)
            super().__init__(pinned, weights)

    monkeypatch.setattr(loaded, "_Loaded", Counted)

    def n_loaded() -> int:
        """With weights, since the last call."""
        n = sum(loads)
        loads.clear()
        return n

    size = demo.REFERENCE.stat().st_size
    models = [PinnedSource.of(ModelSource(path), None) for path in (demo.REFERENCE, GOOD, OTHER)]
    shelf = Shelf(int(2.5 * size))
    for model in (*models[:2], models[0], models[2], models[0]):
        shelf.get(model, Weights.NEEDED)
    assert n_loaded() == 3
    shelf.get(models[1], Weights.NEEDED)  # the least recently used one, which had to go
    assert n_loaded() == 1
    shelf = Shelf(int(2.5 * size))
    for model in models:  # two of them have room
        shelf.get(model, Weights.WHERE_THEY_FIT)
    assert n_loaded() == 2
    for model in models:
        shelf.get(model, Weights.NEEDED)
    assert n_loaded() == 1
    alone = Shelf(0)
    for model in (models[0], models[0], models[1], models[0]):
        alone.get(model, Weights.NEEDED)
    assert n_loaded() == 3
    small = Shelf(int(2.5 * size))
    small.get(models[0], Weights.NOT_NEEDED)
    assert n_loaded() == 0


def test_two_threads_have_two_workers(fresh: None) -> None:
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(ppldelta.score, {"a": TEXT}, cmp=cmp, **QUIET) for cmp in (GOOD, OTHER)]
        a, b = (call.result() for call in calls)
    assert a.tokens["logp_ref"].equals(b.tokens["logp_ref"])
    assert len(local.idle) == 2


def test_idle_workers_end(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "IDLE_S", 0.5)
    ppldelta.score({"a": TEXT}, cmp=GOOD, **QUIET)
    pid = worker_pid()
    until(lambda: not Path(f"/proc/{pid}").exists(), 10)
    assert ppldelta.score({"a": TEXT}, cmp=GOOD, **QUIET).warnings == []


def test_progress_is_that_of_micro_batches(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_SHARD_S", 600.0)  # also a slow machine reads several windows in that time
    with Session() as session:
        model = RemoteModel(session, resolve(demo.REFERENCE))
        model.load()
        batches = batches_of(model, {"a": LONG[: len(LONG) // 8]})
        seen: list[int] = []
        shards = list(model.score(batches, SIZE, seen.append))
        assert [i for shard in shards for i, _, _ in shard.windows] == list(range(len(batches)))
        assert 1 < len(shards) < len(batches), "windows come back some at a time"
        assert sum(seen) == sum(each.n_fed for each in batches)
        assert sum(n > 0 for n in seen) > 5


def test_a_worker_is_small() -> None:
    """It evaluates, and needs nothing of what frames and pictures need."""
    code = (
        CALL
        + """
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.session import Session
def imported(run):
    import sys
    return {name.split(".")[0] for name in sys.modules}
with Session() as session:
    print(sorted(session.call(imported, label="", doing="") & {"ppldelta", "polars", "plotly", "jinja2", "tqdm"}))
"""
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.endswith("\n['ppldelta']\n")


def test_the_caller_s_environment_stays_as_it_is() -> None:
    code = "import os; import ppldelta; print([name for name in os.environ if 'OMP' in name])"
    environment = {name: value for name, value in os.environ.items() if "OMP" not in name}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60, env=environment) == "[]\n"


def test_llama_cpp_s_log_reaches_the_caller(fresh: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="ppldelta.llama_cpp"):
        ppldelta.score({"a": TEXT}, cmp=GOOD, **QUIET)
    assert any("tiny-code" in record.getMessage() for record in caplog.records)


# --- as scripts -----------------------------------------------------------------------------------------------------

CALL = f"""
import ppldelta
print(len(ppldelta.score({{"a": {TEXT!r}}}, {str(demo.REFERENCE)!r}, {str(GOOD)!r}, progress=False).tokens))
"""


@pytest.mark.parametrize("how", ["script", "-c", "stdin", "exec"])
def test_no_main_guard_is_needed(tmp_path: Path, how: str) -> None:
    script = tmp_path / "plain.py"
    script.write_text(CALL)
    arguments = {"script": [script], "-c": ["-c", CALL], "stdin": ["-"]}
    # as a notebook runs a cell: `__main__` is no module of a file
    arguments["exec"] = ["-c", f"exec(compile({CALL!r}, '<cell>', 'exec'))"]
    ran = subprocess.run(
        [sys.executable, *arguments[how]], input=CALL, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split() == [ran.stdout.strip()]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("group", [True, False])
def test_the_end_of_the_caller_is_the_worker_s(tmp_path: Path, signum: int, group: bool) -> None:
    """Ctrl-C and the end of a terminal reach the whole process group, `kill` one process; nothing is left after any."""
    (tmp_path / "long.txt").write_text(LONG)
    (tmp_path / "tmp").mkdir()
    terminal, stderr = pty.openpty()  # a bar shows every step
    caller = subprocess.Popen(
        [sys.executable, "-m", "ppldelta.cli", "score", tmp_path / "long.txt", "--ref", demo.REFERENCE, "--cmp", GOOD,
         "-o", tmp_path / "out"],
        stderr=stderr, start_new_session=True, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    os.close(stderr)
    said = b""
    while b"tok/s" not in said or b"  0%" in said[-60:]:  # the first tokens are evaluated
        said += os.read(terminal, 4096)
    family = children(caller.pid)
    assert family
    (os.killpg if group else os.kill)(caller.pid, signum)
    rest = everything(terminal)
    caller.wait(timeout=5)
    until(lambda: not any(map(alive, family)), 5)
    if signum != signal.SIGKILL:
        assert caller.returncode == 128 + signum
        how = "interrupted" if signum == signal.SIGINT else f"ended by {signum.name}"
        said = f"ppldelta: {how}; all but the last seconds' work is kept, the same command goes on from there"
        assert rest.decode().splitlines()[-1] == said
        assert b"Traceback" not in rest and b"semaphore" not in rest and b"resource_tracker" not in rest
        assert list((tmp_path / "tmp").iterdir()) == []
        assert not (tmp_path / "out").exists()


def test_a_run_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(LONG[: len(LONG) // 8])
    caller = subprocess.Popen(
        ["nohup", sys.executable, "-m", "ppldelta.cli", "score", tmp_path / "long.txt", "--ref", demo.REFERENCE,
         "--cmp", GOOD, "-o", tmp_path / "out"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    until(lambda: (tmp_path / "store.sqlite").exists(), 30)  # of the whole group, the worker as well
    os.killpg(caller.pid, signal.SIGHUP)
    time.sleep(1)
    os.killpg(caller.pid, signal.SIGHUP)
    _, said = caller.communicate(timeout=120)
    assert caller.returncode == 0, said
    assert (tmp_path / "out" / "report.html").exists()


def everything(terminal: int) -> bytes:
    """What is written to a terminal until nobody has it open."""
    said = b""
    with contextlib.suppress(OSError):
        while more := os.read(terminal, 4096):
            said += more
    os.close(terminal)
    return said


def test_a_caller_that_just_vanishes_leaves_no_idle_worker() -> None:
    code = CALL + "import os; from ppldelta.engine import local; print(local.idle[0].executor.process.pid, flush=True)"
    ran = subprocess.run([sys.executable, "-c", f"{code}; os._exit(0)"], stdout=subprocess.PIPE, text=True, timeout=60)
    worker = int(ran.stdout.split()[-1])
    until(lambda: not alive(worker), 10)


def test_interrupted_in_a_notebook_the_models_stay(fresh: None) -> None:
    """Ctrl-C ends the run between two micro-batches; the next run finds the worker with its models."""
    ppldelta.score({"a": TEXT}, cmp=GOOD, **QUIET)
    pid = worker_pid()
    threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        ppldelta.score({"a": LONG}, cmp=GOOD, **QUIET)
    assert worker_pid() == pid
    ppldelta.score({"a": TEXT}, cmp=GOOD, **QUIET)
    with Session() as session:
        assert session.call(n_kept, label="", doing="") == 2


def test_interrupted_in_a_task_that_does_not_look_the_worker_is_ended(fresh: None, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def interrupt() -> None:
        while not begun.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Session() as session:
        threading.Thread(target=interrupt, daemon=True).start()
        session.call(sleep, 60.0, str(begun), label="", doing="")
    assert time.monotonic() - started < 50, "the task sleeps for a minute"
    assert local.idle == []


def sleep(run: int, seconds: float, begun: str) -> None:
    Path(begun).touch()
    time.sleep(seconds)
