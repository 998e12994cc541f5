"""Kernels that are broken on purpose, at the border to the extension; a process that imports this can break its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from ppldelta import _core
from ppldelta.engine import devices, isolated, kernels

FIRST = _core.devices()[0]["buffer_types"][-1]
"""The plain kind of buffer, in which every type is multiplied."""

multiply = _core.multiply


def on(type: str, do: Callable[[np.ndarray], object]) -> Callable[..., object]:
    """A `_core.multiply` that hands a copy of the plain product of one type to `do` before it is returned."""

    def broken(device: str, buffer_type: str, name: str, *rest: object) -> object:
        ran = multiply(device, buffer_type, name, *rest)
        if ran is not None and (buffer_type, name.upper()) == (FIRST, type):
            do(ran[0])
        return ran

    return broken


def crash(type: str, how: str) -> None:
    """From now on the plain kernel of a type ends this process, or never returns."""

    def do(values: np.ndarray) -> None:
        print("last words", file=sys.stderr, flush=True)
        if how == "hang":
            time.sleep(600)
        os.kill(os.getpid(), signal.Signals[how])

    kernels._core.multiply = on(type, do)


def double(type: str) -> None:
    """From now on the plain kernel of a type gives twice the product."""
    kernels._core.multiply = on(type, lambda values: np.multiply(values, 2, out=values))


def break_in_child(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """One of the functions above is called in every process of `isolated` before its check."""
    broken = f"from helpers import broken_kernels; broken_kernels.{call}"
    monkeypatch.setattr(isolated, "_CHILD", f"{broken}; {isolated._CHILD}")


def crash_in_worker(run: int, type: str, how: str) -> None:
    """`crash`, as a task of a worker."""
    crash(type, how)


def unstartable() -> None:
    """From now on the backends cannot be asked for their devices."""

    def devices_that_crash() -> None:
        os.kill(os.getpid(), signal.SIGILL)

    devices._core.devices = devices_that_crash
