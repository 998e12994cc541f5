"""A Dask cluster as the executor: a scheduler and worker processes on this machine, some of which end or are others."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from distributed import Client

import ppldelta
from conftest import free_port, n_kept, until
from ppldelta import cli, demo
from ppldelta.engine import lost, native, remote, worker
from ppldelta.store.store import Store
from test_scoring import engines_of
from test_worker import with_f32

GOOD = demo.COMPARISONS[0]
PROSE = demo.CORPUS / "prose"
TEXT = (PROSE / "mudflats_in_november.txt").read_text()
QUIET = {"progress": False, "store": None}
IN_PROSE = {"files": PROSE, "ref": demo.REFERENCE, "cmp": GOOD, "n_ctx": 512, "threads": 1}
N_FAILURES = 1
"""So often Dask may try a task again that a worker's end has interrupted; its default is 3."""

Value = TypeVar("Value")


@contextmanager
def running(*arguments: object, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A `dask` command and all processes that it starts; workers can import the tests."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(N_FAILURES),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, arguments), "--no-dashboard"],
        cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def scheduler() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    with running("scheduler", "--host", "127.0.0.1", "--port", port) as process:
        yield process, f"tcp://127.0.0.1:{port}"


@contextmanager
def connected(address: str, n_workers: int) -> Iterator[Client]:
    with Client(address, timeout=60, set_as_default=False) as client:
        if n_workers:
            client.wait_for_workers(n_workers, timeout=60)
        yield client


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two worker processes, which Dask's nannies start again where they end."""
    with scheduler() as (_, address), running("worker", address, "--nworkers", 2, "--nthreads", 1):
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with connected(address, 2) as client:
        yield client


@pytest.fixture
def one_window_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task for each window, so that all workers get some."""
    monkeypatch.setattr(remote, "_SHARD_S", 0.0)


@pytest.fixture(scope="module")
def local() -> ppldelta.Result:
    return ppldelta.score(**IN_PROSE, **QUIET)


def in_time(call: Callable[[], Value], seconds: float = 120.0) -> Value:
    """What a call returns or raises, which it must do in time."""
    outcome: list[tuple[Value | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"no end after {seconds} s"
    ((value, error),) = outcome
    if error:
        raise error
    return value


def after_scores(executor: object, n: int, act: Callable[[], object]) -> object:
    """The same executor, which does something once when so many tasks that evaluate are done."""
    submit, n_done = executor.submit, 0

    def count(future: object) -> None:
        nonlocal n_done
        n_done += 1
        if n_done == n:
            act()

    def counted(perform: object, task: object, *arguments: object) -> object:
        future = submit(perform, task, *arguments)
        if task is worker.score:
            future.add_done_callback(count)
        return future

    executor.submit = counted
    return executor


# --- numbers --------------------------------------------------------------------------------------------------------


def test_two_workers_give_the_numbers_of_a_local_run(
    client: Client, local: ppldelta.Result, one_window_each: None
) -> None:
    result = ppldelta.score(**IN_PROSE, **QUIET, executor=client.get_executor())
    assert result.tokens.equals(local.tokens)
    assert result.signature == local.signature
    assert result.warnings == []
    n_models = client.run(n_kept, 0)
    assert len(n_models) == 2
    assert min(n_models.values()) >= 1, "both have evaluated"


def test_threads_are_those_of_the_worker_unless_some_are_given(client: Client, local: ppldelta.Result) -> None:
    try:
        client.run(note_threads)
        run = {**IN_PROSE, "threads": None}
        result = ppldelta.score(**run, **QUIET, executor=client.get_executor())
        used = client.run(threads_used)
        assert set().union(*used.values()) <= {4, 5} and any(used.values())
        assert result.tokens.equals(local.tokens)
        ppldelta.score(**{**run, "threads": 2}, **QUIET, executor=client.get_executor())
        assert 2 in set().union(*client.run(threads_used).values())
    finally:
        client.restart()


# --- workers that end -----------------------------------------------------------------------------------------------


def test_a_worker_killed_in_the_middle_costs_nothing_but_time(
    client: Client, local: ppldelta.Result, one_window_each: None
) -> None:
    pids = client.run(os.getpid)
    executor = after_scores(client.get_executor(), 5, lambda: os.kill(min(pids.values()), signal.SIGKILL))
    result = in_time(lambda: ppldelta.score(**IN_PROSE, **QUIET, executor=executor))
    assert result.tokens.equals(local.tokens)
    assert result.warnings == []
    client.wait_for_workers(2, timeout=60)
    assert set(client.run(os.getpid).values()) != set(pids.values()), "one was killed"


def test_a_model_that_ends_every_worker_is_named_and_the_others_go_on(
    client: Client, local: ppldelta.Result, tmp_path: Path
) -> None:
    aborting = with_f32(demo.REFERENCE, tmp_path / "aborts.gguf", b"llama.attention.layer_norm_rms_epsilon", -1.0)
    run = {**IN_PROSE, "cmp": [aborting, GOOD]}
    result = in_time(lambda: ppldelta.score(**run, **QUIET, executor=client.get_executor()))
    (warning,) = result.warnings
    death = f"the process that was evaluating `aborts` ended unexpectedly on {N_FAILURES + 1} workers of the cluster"
    assert warning.startswith(f"{death}, near `")
    assert result.left_out == {"comparison": ["aborts"]}
    assert result.tokens["logp_cmp"].equals(local.tokens["logp_cmp"])
    with pytest.raises(ppldelta.ModelError, match="evaluating `aborts` ended unexpectedly"):
        in_time(lambda: ppldelta.score({"a": TEXT}, aborting, GOOD, **QUIET, executor=client.get_executor()))


def test_a_cluster_without_workers_is_given_up(monkeypatch: pytest.MonkeyPatch, one_window_each: None) -> None:
    """Dask itself would wait for ever."""
    monkeypatch.setattr(lost, "NO_WORKER_S", 3.0)
    with (
        scheduler() as (_, address),
        running("worker", address, "--no-nanny", "--nthreads", 1) as only,
        connected(address, 1) as client,
    ):
        executor = after_scores(client.get_executor(), 3, lambda: os.kill(only.pid, signal.SIGKILL))
        with pytest.raises(ppldelta.PpldeltaError, match="the Dask cluster has had no worker for 3 s") as caught:
            in_time(lambda: ppldelta.score(**IN_PROSE, **QUIET, executor=executor))
    assert "goes on from there" in caught.value.hint


def test_workers_that_dask_keeps_from_working_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less memory than Python itself takes: Dask pauses the worker, and would wait for ever."""
    monkeypatch.setattr(lost, "NO_WORKER_S", 3.0)
    with (
        scheduler() as (_, address),
        running("worker", address, "--no-nanny", "--nthreads", 1, "--memory-limit", "20MB"),
        connected(address, 0) as client,
    ):
        until(lambda: [each["status"] for each in client.scheduler_info()["workers"].values()] == ["paused"], 60)
        with pytest.raises(ppldelta.PpldeltaError, match="has paused all workers of the cluster for 3 s") as caught:
            in_time(lambda: ppldelta.score(**IN_PROSE, **QUIET, executor=client.get_executor()))
    assert "--memory-limit 0" in caught.value.hint


def test_a_scheduler_that_is_killed_ends_the_run(one_window_each: None) -> None:
    with (
        scheduler() as (process, address),
        running("worker", address, "--no-nanny", "--nthreads", 1),
        connected(address, 1) as client,
    ):
        executor = after_scores(client.get_executor(), 3, lambda: os.kill(process.pid, signal.SIGKILL))
        with pytest.raises(
            ppldelta.PpldeltaError, match=r"the executor does not finish a task: \w|connection to the Dask"
        ):
            in_time(lambda: ppldelta.score(**IN_PROSE, **QUIET, executor=executor), 60)


# --- workers that are others ----------------------------------------------------------------------------------------


def test_a_worker_whose_file_is_another_one_is_refused(
    tmp_path: Path, local: ppldelta.Result, monkeypatch: pytest.MonkeyPatch, one_window_each: None
) -> None:
    """Each process finds its own file under one path."""
    path = Path("/proc/self/cwd") / GOOD.name
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / GOOD.name).write_bytes(GOOD.read_bytes())
    monkeypatch.chdir(here)
    flags = ("--no-nanny", "--nthreads", 1)
    with (
        scheduler() as (_, address),
        running("worker", address, *flags, cwd=here),
        running("worker", address, *flags, cwd=there),
        connected(address, 2) as client,
    ):
        run = {**IN_PROSE, "cmp": path, **QUIET, "executor": client.get_executor()}
        assert in_time(lambda: ppldelta.score(**run)).tokens.equals(local.tokens)
        client.run(worker_forgets)
        with_f32(GOOD, there / GOOD.name, b"llama.attention.layer_norm_rms_epsilon", 1e-4)
        with pytest.raises(ppldelta.ModelError, match=rf"has another model file `{path}`: its sha256 begins with"):
            in_time(lambda: ppldelta.score(**run))
        client.run(worker_forgets)
        (there / GOOD.name).unlink()
        with pytest.raises(ppldelta.ModelError, match=rf"does not have the model file `{path}`"):
            in_time(lambda: ppldelta.score(**run))


def test_a_worker_of_another_release_is_refused(client: Client, one_window_each: None) -> None:
    other, _ = client.run(os.getpid)
    try:
        client.run(pretend_release, "ppldelta 0.0.9 (llama.cpp 1234567)", workers=[other])
        with pytest.raises(ppldelta.PpldeltaError, match=r"a worker of the executor has ppldelta 0\.0\.9") as caught:
            in_time(lambda: ppldelta.score(**IN_PROSE, **QUIET, executor=client.get_executor()))
        assert not isinstance(caught.value, ppldelta.ModelError)
        assert native.release() in caught.value.message
        assert caught.value.hint == "install the same ppldelta on all machines"
    finally:
        client.restart()


def test_a_reply_that_cannot_be_read_here_is_no_endless_wait(
    client: Client, monkeypatch: pytest.MonkeyPatch, one_window_each: None
) -> None:
    """Such as that of a version with other classes; Dask's future of it stays open."""
    monkeypatch.setattr(lost, "LOST_S", 2.0)
    try:
        client.run(answer_in_riddles)
        with pytest.raises(ppldelta.PpldeltaError, match="lost a result, or it cannot be read here"):
            in_time(lambda: ppldelta.score(**IN_PROSE, **QUIET, executor=client.get_executor()), 60)
    finally:
        client.restart()


def test_windows_that_other_kernels_computed_are_stored_as_theirs(
    client: Client, local: ppldelta.Result, one_window_each: None, tmp_path: Path
) -> None:
    here, elsewhere = native.build().kernels, "CPU[AVX2,FMA]"
    other, _ = client.run(os.getpid)
    path = tmp_path / "mixed.sqlite"
    try:
        client.run(pretend_kernels, elsewhere, workers=[other])
        result = in_time(lambda: ppldelta.score(**IN_PROSE, progress=False, store=path, executor=client.get_executor()))
    finally:
        client.restart()
    assert result.tokens.equals(local.tokens)  # in truth the same kernels
    (warning,) = result.warnings
    assert warning.startswith("Not all numbers come from the kernels of the signature")
    assert here in warning and elsewhere in warning
    (family,) = result.families
    n_stored = stored_by_kernels(path)
    assert set(n_stored) == {here, elsewhere}
    assert {kernels for each in (family.ref, *family.cmp) for kernels in each.kernels} == {here, elsewhere}

    n_windows = sum(n_stored.values())
    assert ppldelta.score(**IN_PROSE, progress=False, store=path).warnings == []
    assert stored_by_kernels(path) == {here: n_windows, elsewhere: n_stored[elsewhere]}, "theirs were evaluated again"


def stored_by_kernels(path: Path) -> dict[str, int]:
    with Store(path) as store:
        return {engine.partition("|kernels:")[2]: n for engine, n in engines_of(store).items()}


# --- the command line -----------------------------------------------------------------------------------------------


def test_the_command_line_connects(address: str, client: Client, local: ppldelta.Result, tmp_path: Path) -> None:
    command = ["score", str(PROSE), "--ref", str(demo.REFERENCE), "--cmp", str(GOOD), "-c", "512", "-t", "1", "-q"]
    assert cli.main([*command, "--dask", address, "-o", str(tmp_path / "out")]) == 0
    assert ppldelta.load(tmp_path / "out").tokens.equals(local.tokens)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tcp://127.0.0.1:{free}", "no Dask scheduler answers at `tcp://127.0.0.1:{free}`: Connection refused"),
        ("127.0.0.1:{silent}", "no Dask scheduler answers at `127.0.0.1:{silent}`: timed out"),
        ("127.0.0.1:{talks}", "what answers at `127.0.0.1:{talks}` is no Dask scheduler"),
        ("somewhere", "a Dask cluster must be given as `tcp://HOST:PORT`, got `somewhere`"),
        ("tcp://127.0.0.1:70000", "a Dask cluster must be given as `tcp://HOST:PORT`, got `tcp://127.0.0.1:70000`"),
    ],
)
def test_an_address_where_no_scheduler_answers(
    given: str, said: str, ports: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    assert score_with("--dask", given.format(**ports)) == 1
    assert time.monotonic() - started < 10
    assert f"ppldelta: error: {said.format(**ports)}\n" in capsys.readouterr().err


def test_a_cluster_that_has_no_worker_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppldelta.commands.cluster._WORKERS_S", 0.5)
    with scheduler() as (_, address), connected(address, 0):
        assert score_with("--dask", address) == 1
    error = capsys.readouterr().err
    assert f"the Dask cluster at `{address}` has no worker that is ready" in error
    assert f"`dask worker {address} --nthreads 1 --memory-limit 0`" in error


def test_without_dask_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert score_with("--dask", "tcp://127.0.0.1:1") == 1
    assert "hint: pip install 'ppldelta[dask]'" in capsys.readouterr().err


def score_with(*flags: str) -> int:
    return cli.main(["score", str(PROSE), "--ref", str(demo.REFERENCE), "--cmp", str(GOOD), "--dry-run", "-q", *flags])


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Where nothing listens, where something listens and says nothing, and where something else speaks first."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as talks:

        def speak() -> None:
            with contextlib.suppress(OSError):  # the test is over and nobody has called
                connection, _ = talks.accept()
                with connection:
                    connection.sendall(b"220 mail.example.org ready\r\n")

        threading.Thread(target=speak, daemon=True).start()
        yield {
            "free": free_port(), "silent": silent.getsockname()[1], "talks": talks.getsockname()[1],
        }  # fmt: skip


# --- what runs in a worker ------------------------------------------------------------------------------------------


def pretend_release(text: str) -> None:
    native.release = lambda: text


class Riddle:
    """Cannot be read by the process that gets it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return __import__, ("ppldelta.no_such_module",)


def answer_in_riddles() -> None:
    native.release = Riddle


def pretend_kernels(text: str) -> None:
    other = replace(native.build(), kernels=text)
    native.build = lambda: other


def worker_forgets() -> None:
    """It loads its models anew."""
    worker._shelf = type(worker._shelf)(worker._shelf.most_bytes)


_threads: set[int] = set()


def note_threads() -> None:
    """Notes with how many threads this process evaluates from here on, and gives it 4 or 5 cores."""
    from ppldelta.engine import loaded

    scorer = loaded.Scorer

    def noted(*arguments: object, threads: int, **more: object) -> native.Scorer:
        _threads.add(threads)
        return scorer(*arguments, threads=threads, **more)

    loaded.Scorer = noted
    loaded.loky.cpu_count = lambda only_physical_cores: 4 + os.getpid() % 2


def threads_used() -> set[int]:
    return _threads
