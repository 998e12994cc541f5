"""Workers that are killed at the worst moment: the caller neither waits for them nor ends badly."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ppldelta
from conftest import alive, children, until
from ppldelta import demo
from ppldelta.engine import local, worker
from ppldelta.engine.session import Session

GOOD = demo.COMPARISONS[0]
TEXT = (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()
QUIET = {"progress": False, "store": None}
N_KILLS = int(os.environ.get("PPLDELTA_KILLS", "0"))
"""How many random kills to make beside the forced ones: some seconds each."""

CALLER = f"""
import sys, time
from pathlib import Path
import ppldelta
from ppldelta.engine.session import Session

begun, go = Path(sys.argv[1]), Path(sys.argv[2])

def large(run, begun, go):
    begun.touch()
    while not go.exists():
        time.sleep(0.01)
    return bytes(8_000_000)

try:
    with Session() as session:
        session.call(large, begun, go, label="m", doing="asking")
except ppldelta.ModelError as error:
    print(error)
except KeyboardInterrupt:
    print("interrupted")
print(len(ppldelta.score({{"a": {TEXT!r}}}, {str(demo.REFERENCE)!r}, {str(GOOD)!r}, progress=False).tokens))
"""
"""A call whose result is far longer than a pipe, and another call after it."""


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`CALLER`, stopped, while its worker waits for somebody who reads the rest of its result."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, begun, go], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            until(begun.exists, 60)
            process.send_signal(signal.SIGSTOP)
            go.touch()
            (writer,) = (pid for pid in children(process.pid) if writes_to_a_full_pipe(pid))
            os.kill(writer, signal.SIGKILL)
            until(lambda: not alive(writer), 10)
            yield process
        finally:
            process.kill()


def writes_to_a_full_pipe(pid: int) -> bool:
    """Whether a process sleeps and goes on sleeping, which `CALLER`'s worker does nowhere else once it may go on."""
    if "popen_loky_posix" not in Path(f"/proc/{pid}/cmdline").read_text():
        return False
    time.sleep(1.0)
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


def ended(process: subprocess.Popen[str]) -> list[str]:
    """What a caller said once it has ended by itself."""
    said, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    return said.splitlines()


@pytest.mark.parametrize("again", range(2))
def test_a_worker_killed_while_it_writes_its_result_is_a_death(caller: subprocess.Popen[str], again: int) -> None:
    caller.send_signal(signal.SIGCONT)
    death, hint, n_tokens = ended(caller)
    assert death == "the process that was asking `m` was ended by SIGKILL"
    assert "memory" in hint
    assert int(n_tokens) > 0


def test_ctrl_c_is_heard_while_a_worker_is_killed(caller: subprocess.Popen[str]) -> None:
    caller.send_signal(signal.SIGINT)
    caller.send_signal(signal.SIGCONT)
    *_, n_tokens = ended(caller)
    assert int(n_tokens) > 0


def test_a_worker_killed_while_it_is_sent_a_long_text_leaves_no_thread(fresh: None) -> None:
    """Which waited for somebody who reads the rest of it."""
    with Session() as session:
        session.call(worker.ready, label="", doing="")
        pid = session._local.executor.process.pid
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(1.0, os.kill, [pid, signal.SIGKILL]).start()
        with pytest.raises(ppldelta.ModelError, match="was asking `m` was ended by SIGKILL"):
            session.call(length, bytes(8_000_000), label="m", doing="asking")
    until(lambda: "QueueFeederThread" not in [thread.name for thread in threading.enumerate()], 10)


def length(run: int, data: bytes) -> int:
    return len(data)


class SlowToPickle:
    def __reduce__(self) -> tuple[type[SlowToPickle], tuple[()]]:
        time.sleep(0.5)
        return SlowToPickle, ()


def test_the_end_of_a_worker_is_the_end_of_the_thread_that_feeds_it(fresh: None) -> None:
    """The thread removes semaphores when it ends. If the process ended before that, some would be half removed."""
    with Session() as session:
        session.call(worker.ready, label="", doing="")
        executor = session._local.executor
        feeder = executor._call_queue._thread
        executor.submit(id, SlowToPickle())
        executor.end()
        assert not feeder.is_alive()


@pytest.mark.parametrize(
    ("signum", "hint"),
    [(signal.SIGILL, "ppldelta doctor"), (signal.SIGSEGV, "ppldelta doctor"), (signal.SIGKILL, "memory")],
)
def test_the_hint_is_that_of_the_signal(fresh: None, signum: signal.Signals, hint: str) -> None:
    with Session() as session, pytest.raises(ppldelta.ModelError, match=f"was ended by {signum.name}") as caught:
        session.call(end_by, signum, label="m", doing="asking")
    assert hint in caught.value.hint


def end_by(run: int, signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(60)


def test_two_threads_after_both_idle_workers_were_killed(fresh: None) -> None:
    def both() -> list[ppldelta.Result]:
        results: list[ppldelta.Result] = []
        threads = [
            threading.Thread(target=lambda: results.append(ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD, **QUIET)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    first = both()
    workers = [each.executor.process.pid for each in local.idle]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(alive, workers)), 10)
    again = both()
    assert [each.tokens.equals(first[0].tokens) for each in (*first, *again)] == [True] * 4


@pytest.mark.skipif(not N_KILLS, reason="PPLDELTA_KILLS says how many")
def test_after_random_kills_a_rerun_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    """The worker is killed at any moment of a run; the caller ends by itself, and the next run ends the work."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for path in sorted(demo.CORPUS.glob("prose/*.txt"))[:4]:
        (corpus / path.name).write_text(path.read_text() * 8)
    expected = ppldelta.score(corpus, demo.REFERENCE, GOOD, n_ctx=512, windows="every", progress=False)
    command = [
        *(sys.executable, "-m", "ppldelta.cli", "score", corpus, "--ref", demo.REFERENCE, "--cmp", GOOD),
        *("-c", "512", "--windows", "every", "--store", "s.sqlite", "-o", "out"),
    ]
    rng = random.Random(0)
    n_deaths, slowest = 0, 0.0
    for i in range(N_KILLS):
        cwd = tmp_path / str(i)
        cwd.mkdir()
        with (cwd / "said").open("wb") as said:
            caller = subprocess.Popen(list(map(str, command)), cwd=cwd, stdout=said, stderr=said)
        time.sleep(rng.uniform(0.3, 6.0))
        workers = [pid for pid in children(caller.pid) if "popen_loky" in Path(f"/proc/{pid}/cmdline").read_text()]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        started = time.monotonic()
        caller.wait(timeout=120)
        slowest = max(slowest, time.monotonic() - started)
        assert "Traceback" not in (cwd / "said").read_text()
        n_deaths += caller.returncode == 1
        subprocess.run(list(map(str, command)), cwd=cwd, check=True, capture_output=True, timeout=120)
        assert ppldelta.load(cwd / "out").tokens.equals(expected.tokens)
    print(f"{N_KILLS} kills, {n_deaths} of them ended the run, the slowest end took {slowest:.1f} s")
