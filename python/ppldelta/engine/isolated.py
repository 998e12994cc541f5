"""Checks of the kernels in processes of their own, so that one that crashes is seen and named, and the others go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any

from ppldelta import _core
from ppldelta.engine import kernels
from ppldelta.engine.devices import Device, devices
from ppldelta.engine.kernels import Kernel, Product

TIMEOUT_S = 120.0
"""Most seconds that a process may take. Its work takes milliseconds, but at the first product a GPU may compile."""

_MOST_PROCESSES = 8
_CHILD = "from ppldelta.engine import isolated; isolated."


class Ended(Exception):
    """A process ended before it had said what was wanted.

    Args:
        cause: such as "SIGILL"; "TIMEOUT" if it had to be ended.
        said: the last lines of what it wrote to stderr, on one.
    """

    def __init__(self, cause: str, said: str) -> None:
        super().__init__(cause, said)
        self.cause = cause
        self.said = said


@dataclass(frozen=True)
class Crash:
    """A kernel that ended its process.

    Attributes:
        kernel: which.
        cause: as in `Ended`.
        said: as in `Ended`.
    """

    kernel: Kernel
    cause: str
    said: str


def find_devices() -> tuple[Device, ...]:
    """`devices.devices()` of another process.

    Raises:
        Ended: the backends end it.
    """
    ended, lines = _run("say_devices()", None)
    if ended:
        raise ended
    return tuple(Device.of(each) for each in lines)


def check(types: Sequence[str], on_type: Callable[[], object] = lambda: None) -> tuple[list[Product], list[Crash]]:
    """Products of every type on every device of this machine, each type in a process of its own.

    Args:
        types: some of `kernels.types()`.
        on_type: called as each of them is done.

    Returns:
        What came of the products, and which kernels ended their process, both in the order of `types`.

    Raises:
        Ended: a process ends before its first product or after its last one.
    """
    running = _Running()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_PROCESSES)) as threads:
        futures = {threads.submit(_check, type, running): type for type in types}
        found = {}
        try:
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                on_type()
        except BaseException:  # such as Ctrl-C: the threads would go on to the last type
            threads.shutdown(wait=False, cancel_futures=True)
            running.end()
            raise
    return (
        [product for type in types for product in found[type][0]],
        [crash for type in types for crash in found[type][1]],
    )


class _Running:
    """The processes that multiply at the moment, which can be ended together."""

    def __init__(self) -> None:
        self.ended = False
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()

    def add(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._processes.add(process)
            if self.ended:
                process.kill()

    def end(self) -> None:
        """Ends them, and all that are added later."""
        with self._lock:
            self.ended = True
            for process in self._processes:
                process.kill()  # one that has ended by itself is left alone


def _check(type: str, running: _Running) -> tuple[list[Product], list[Crash]]:
    """Multiplies with one type: if a kernel ends the process, another process goes on with the kernels after it."""
    products: list[Product] = []
    crashes: list[Crash] = []
    while True:
        done = [*(product.kernel for product in products), *(crash.kernel for crash in crashes)]
        begun: Kernel | None = None
        ended, lines = _run("say_products()", [type, [asdict(kernel) for kernel in done]], running.add)
        if running.ended:
            return products, crashes
        for line in lines:
            if "about_to" in line:
                begun = Kernel(**line["about_to"])
            elif "product" in line and begun:
                products.append(Product(begun, **line["product"]))
            else:
                begun = None
        if ended is None:
            return products, crashes
        if begun is None or any(product.kernel == begun for product in products):
            raise ended
        crashes.append(Crash(begun, ended.cause, ended.said))


def _run(
    call: str, given: object, on_start: Callable[[subprocess.Popen[str]], object] = lambda process: None
) -> tuple[Ended | None, list[dict[str, Any]]]:
    """What ended a process that calls one of the functions below, if anything did, and the lines that it wrote."""
    # the module search path of this process, so that the folder where it was started does not come first
    code = f"import sys; sys.path[:] = {sys.path!r}; {_CHILD}{call}"
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        on_start(process)
        try:
            out, log = process.communicate(json.dumps(given), TIMEOUT_S)
            cause = _how_ended(process.returncode) if process.returncode else None
        except subprocess.TimeoutExpired:
            process.kill()
            out, log = process.communicate()
            cause = "TIMEOUT"
    said = " | ".join(" ".join(line.split())[:200] for line in log.splitlines()[-3:])
    # a process that ended while it wrote leaves part of a line
    lines = [json.loads(line) for line in out.splitlines(keepends=True) if line.endswith("\n")]
    return Ended(cause, said) if cause else None, lines


def _how_ended(status: int) -> str:
    """The name of the signal that ended a process, or its exit status."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"status {status}"


def say_devices() -> None:
    """Writes what devices this process has; the counterpart of `find_devices`, in the process that it starts."""
    for each in _core.devices():
        _say(each)


def say_products() -> None:
    """Reads a type and the kernels to leave out, and writes what comes of the others; the counterpart of `check`."""
    type, skip = json.loads(sys.stdin.read())
    for product in kernels.multiply(
        type,
        devices(),
        skip={Kernel(**each) for each in skip},
        about_to=lambda kernel: _say({"about_to": asdict(kernel)}),
    ):
        _say({"product": {"rms": product.rms, "worst": product.worst, "slowness": product.slowness}})
    _say({"done": type})


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
