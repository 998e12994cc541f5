"""Claims about the device's memory: what is kept there; too little of it, or a killed worker, is a clear error."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gpu_device import Device, close_idle, windows
from ppldelta.engine import worker
from ppldelta.engine.loaded import ContextSize, PinnedSource, Weights
from ppldelta.engine.native import ModelInfo
from ppldelta.engine.session import Session
from ppldelta.errors import ModelError
from ppldelta.models.source import ModelSource
from ppldelta.text.windows import Batch

SIZE = ContextSize(n_ctx=512, n_ubatch=256, threads=4, n_outputs_max=256, n_seq_max=1)
SLACK_MB = 300
"""What two readings may differ by: contexts of the driver come and go."""


def load(session: Session, path: Path) -> ModelInfo:
    file = PinnedSource.of(ModelSource(path), None)
    return session.call(worker.describe, file, Weights.NEEDED, label=path.name, doing="loading").info


def score(session: Session, path: Path, size: ContextSize, n_vocab: int, n_tokens: int = 512) -> int:
    """Scores a window; returns the number of scored tokens."""
    batches = [Batch("text", (0,), tuple(windows(1, n_tokens, n_vocab)))]
    done = session.call(
        worker.score, PinnedSource.of(ModelSource(path), None), size, 0, batches, label=path.name, doing="evaluating"
    )
    return sum(map(len, done.logp))


def process_id(run: int) -> int:
    return os.getpid()


def worker_pid(session: Session) -> int:
    return session.call(process_id, label="", doing="asking")


def kept(on: Device) -> None:
    """Models come and go one at a time, and everything goes with the worker."""
    path = on.model()
    twin = path.with_name("twin.gguf")
    if not twin.exists():
        twin.symlink_to(path)
    empty = on.used_mb()
    with on.session() as session:
        info = load(session, path)
        one = on.used_mb()
        load(session, twin)
        other = on.used_mb()
        on.say(
            "memory on the device: nothing, a model, another one after it",
            f"{empty}, {one}, {other} MiB (weights of {info.size_bytes >> 20} MiB)",
            abs(other - one) <= SLACK_MB,
            limit=f"the last two differ by at most {SLACK_MB}",
            data={"empty_mb": empty, "one_mb": one, "other_mb": other, "weights_mb": info.size_bytes >> 20},
        )
        for size in (SIZE, replace(SIZE, n_ctx=8192, n_seq_max=32)):
            score(session, twin, size, info.n_vocab)
            used = on.used_mb()
            on.say(f"the same with a context of {size.n_ctx} tokens for {size.n_seq_max}", f"{used} MiB", data=used)
    time.sleep(2)
    after = on.used_mb()
    on.say(
        "the worker's end gives the memory back",
        f"{after} MiB",
        None if on.rehearsal else abs(after - empty) <= SLACK_MB,
        limit=f"{empty} and {SLACK_MB} MiB",
    )


def too_large(on: Device) -> None:
    """A context that does not fit is a clear error, and the run goes on with one that does."""
    path = on.model()
    with on.session() as session:
        info = load(session, path)
        before = worker_pid(session)
        # the model's cache takes 96 KB a token, so that no card has room for this
        most = replace(SIZE, n_ctx=2**24 if on.rehearsal else 2**22)
        _expect(on, "a context larger than the device", lambda: score(session, path, most, info.n_vocab), "context")
        _goes_on(on, "after that", session, path, info, before)


def full(on: Device) -> None:
    """Another program holds the device's memory, first when a model is loaded and then when it is evaluated."""
    if on.rehearsal:
        on.say("what happens where another program fills the device", "not tried: the rehearsal has no GPU", None)
        return
    path = on.model()
    with on.session() as session:
        before = worker_pid(session)
        with filled(keep_mb=1024):
            _expect(on, "a model that does not fit beside another program", lambda: load(session, path), "load")
        info = load(session, path)
        _goes_on(on, "after that", session, path, info, before)
    with on.session() as session:
        info = load(session, path)
        before = worker_pid(session)
        score(session, path, SIZE, info.n_vocab)
        with filled(keep_mb=64):
            larger = replace(SIZE, n_ctx=8192, n_ubatch=2048, n_outputs_max=2048)
            _expect(
                on,
                "a context that does not fit beside another program",
                lambda: score(session, path, larger, info.n_vocab),
                "",
            )
        _goes_on(on, "after that", session, path, info, before)
    with on.session() as session:
        info = load(session, path)
        before = worker_pid(session)
        score(session, path, SIZE, info.n_vocab, n_tokens=4)  # the context is there, what larger steps need is not yet
        with filled(keep_mb=8):
            _expect(on, "no memory for a step", lambda: score(session, path, SIZE, info.n_vocab), "")
        _goes_on(on, "after that", session, path, info, before)


@contextmanager
def filled(keep_mb: int) -> Iterator[None]:
    """All memory of the device but so much is taken, by a process of its own."""
    program = Path(__file__)
    with subprocess.Popen(
        [sys.executable, str(program), str(keep_mb)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        if child.stdout.readline().strip() != b"filled":
            raise RuntimeError("the device's memory could not be filled")
        try:
            yield
        finally:
            child.stdin.close()
            child.wait()


def fill(keep_mb: int) -> None:
    """Takes the memory until stdin ends."""
    libraries = re.findall(r"\S*libcudart\.so\S*", Path("/proc/self/maps").read_text())
    cudart = ctypes.CDLL(libraries[0])
    free, total, pointer = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
    for part_mb in (4096, 256, 16):
        while True:
            cudart.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
            if free.value >> 20 < keep_mb + part_mb:
                break
            if cudart.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(part_mb << 20)) != 0:
                break
    print("filled", flush=True)
    sys.stdin.read()


def killed(on: Device) -> None:
    """A worker that is killed in the middle is a clear error, and the next one does the work."""
    path = on.model()
    with on.session() as session:
        info = load(session, path)
        pid = worker_pid(session)
        batches = [Batch("text", (i,), (each,)) for i, each in enumerate(windows(4, 512, info.n_vocab) * 2000)]
        killer = threading.Timer(1.0, os.kill, (pid, signal.SIGKILL))
        killer.start()
        arguments = (worker.score, PinnedSource.of(ModelSource(path), None), SIZE, 0, batches)
        _expect(on, "a killed worker", lambda: session.call(*arguments, label=path.name, doing="evaluating"), "SIGKILL")
        killer.join()
        _goes_on(on, "after that", session, path, info, pid)
    close_idle()


def _expect(on: Device, what: str, action: object, part: str) -> None:
    """A `ModelError` whose message has a part, and a hint."""
    started = time.perf_counter()
    try:
        action()
    except ModelError as error:
        figure = f"{error.message} (hint: {error.hint}), after {time.perf_counter() - started:.1f} s"
        on.say(f"{what} is a clear error", " ".join(figure.split())[:600], bool(error.hint) and part in error.message)
    except Exception as error:
        on.say(f"{what} is a clear error", f"{type(error).__name__}: {error}"[:600], False)
    else:
        on.say(f"{what} is a clear error", "there was none: it fitted", None)


def _goes_on(on: Device, when: str, session: Session, path: Path, info: ModelInfo, before: int) -> None:
    """A window of usual size is scored, by the same worker or by another."""
    try:
        n = score(session, path, SIZE, info.n_vocab)
        same = worker_pid(session) == before
        on.say(f"{when} the session goes on", f"{n} tokens scored by {'the same worker' if same else 'a new worker'}")
    except Exception as error:
        on.say(f"{when} the session goes on", f"{type(error).__name__}: {error}"[:600], False)


if __name__ == "__main__":
    fill(int(sys.argv[1]))
