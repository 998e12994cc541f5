"""How far a run is: a bar on a terminal, one output of a notebook's cell, else whole lines on stderr, few for a log.

The only module that knows tqdm, whose bar for notebooks is not used: it needs ipywidgets, and warns if there are none.
What cannot be written is not shown: no run fails for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ppldelta.console.board import Board, board
from ppldelta.wording.names import escaped, shown_name

LINES_S = 10.0
"""Least seconds between two lines if stderr is no terminal."""

_BRIEF_S = 1.0
_STEP = 1000
"""Items between two updates of the display."""
T = TypeVar("T")
_SHORT_UNITS = {"token": "tok", "byte": "B"}


class Meter:
    """Shows how far one thing is; this one shows nothing."""

    def update(self, n: int) -> None:
        """So many units more are done."""

    def note(self, text: str) -> None:
        """Shows a text beside the numbers."""

    def close(self, *, done: bool) -> None:
        """Ends the display; `done` says whether all was done."""


@contextmanager
def meter(
    what: str, total: int, unit: str, *, initial: int = 0, brief: bool = False, visible: bool = True
) -> Iterator[Meter]:
    """Shows how far something is while the context lasts.

    Args:
        what: its name.
        total: units in all.
        unit: in the singular, such as `"token"` or `"byte"`.
        initial: units that were done before.
        brief: whether it is often over at once: it is shown only if it lasts, and leaves nothing behind.
        visible: whether to show anything.
    """
    what = shown_name(what)
    if not visible:
        shown = Meter()
    elif in_notebook := board():
        shown = _OfCell(in_notebook, what, total, unit, initial, brief)
    elif sys.stderr is None:
        shown = Meter()
    elif _is_terminal():
        shown = _Bar(what, total, unit, initial, brief)
    else:
        shown = _Lines(what, total, unit, initial, brief)
    done = False
    try:
        yield shown
        done = True
    finally:
        shown.close(done=done)


def watched(items: Iterable[T], what: str, total: int, unit: str, *, visible: bool) -> Iterator[T]:
    """Passes items on. If that takes a while, the display counts them in full thousands."""
    with meter(what, total, unit, brief=True, visible=visible) as shown:
        for n, each in enumerate(items, 1):
            yield each
            if n % _STEP == 0:
                shown.update(_STEP)


def line(text: str) -> None:
    """A line on stderr, in a notebook one of the cell's progress; it is lost if stderr is closed or full."""
    if in_notebook := board():
        in_notebook.line().show(escaped(text), now=True)
        return
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)


class _Bar(Meter):
    """tqdm's, in a terminal."""

    def __init__(self, what: str, total: int, unit: str, initial: int, brief: bool) -> None:
        from tqdm import tqdm  # here: most processes show nothing

        self._bar: Any = tqdm(
            total=total,
            initial=initial,
            desc=what,
            unit=_SHORT_UNITS.get(unit, unit),
            unit_scale=unit in _SHORT_UNITS,
            leave=not brief,
            delay=_BRIEF_S if brief else 0,
            **_screen(),
        )

    def update(self, n: int) -> None:
        self._bar.update(n)

    def note(self, text: str) -> None:
        self._bar.set_postfix_str(text)

    def close(self, *, done: bool) -> None:
        self._bar.close()


class _Lines(Meter):
    """A line now and then, and one at the end."""

    _pause_s = LINES_S

    def __init__(self, what: str, total: int, unit: str, initial: int, brief: bool) -> None:
        self._what, self._total, self._unit, self._brief = what, total, unit, brief
        self._first = self._n = initial
        self._note = ""
        self._begun = self._said = time.monotonic()
        self._idle = True

    def update(self, n: int) -> None:
        now = time.monotonic()
        if self._idle and not n:  # the clock of the speed starts with the work, not with the loading before it
            self._begun = now
        self._idle = False
        self._n += n
        if now - self._said >= self._pause_s:
            self._said = now
            share = f"{100 * self._n // max(self._total, 1)} % of {_amount(self._total, self._unit)}"
            speed = self._speed(now)
            left = f", {_clock((self._total - self._n) / speed)} left" if speed else ""
            self._say(share + (f", {_amount(speed, self._unit)}/s" if speed else "") + left)

    def note(self, text: str) -> None:
        self._note = f"; {text}"

    def close(self, *, done: bool) -> None:
        if done and not self._brief:
            now = time.monotonic()
            speed = self._speed(now)
            self._end(
                f"{_amount(self._n - self._first, self._unit)} in {_clock(now - self._begun)}"
                + (f", {_amount(speed, self._unit)}/s" if speed else "")
                + self._note
            )

    def _speed(self, now: float) -> float:
        return (self._n - self._first) / max(now - self._begun, 1e-3)

    def _say(self, text: str) -> None:
        line(f"{self._what}: {text}")

    def _end(self, text: str) -> None:
        self._say(text)


class _OfCell(_Lines):
    """A line of a cell's progress, with a bar while it lasts."""

    _pause_s = 0.0  # the board has its own

    def __init__(self, board: Board, what: str, total: int, unit: str, initial: int, brief: bool) -> None:
        super().__init__(what, total, unit, initial, brief)
        self._line = board.line()
        if not brief:
            self._line.show(f"{what}: {_amount(total, unit)}", 0.0)

    def close(self, *, done: bool) -> None:
        super().close(done=done)
        if not done or self._brief:
            self._line.show("", now=True)

    def _say(self, text: str) -> None:
        if not self._brief or time.monotonic() - self._begun >= _BRIEF_S:
            self._line.show(f"{self._what}: {text}{self._note}", self._n / max(self._total, 1))

    def _end(self, text: str) -> None:
        self._line.show(f"{self._what}: {text}", now=True)


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (ValueError, AttributeError):  # closed, or not quite a stream
        return False


def _screen() -> dict[str, Any]:
    """What tqdm is told of the terminal's size: to ask at every moment.

    If the terminal says that it has no size, tqdm would show nothing, and is told a usual one.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        size = os.get_terminal_size(sys.stderr.fileno())
        if 0 in size:
            return {"ncols": size.columns or 80, "nrows": size.lines or 24}
    return {"dynamic_ncols": True}


def _amount(n: float, unit: str) -> str:
    """Three digits: `12.3k tokens`, `1.20GB`."""
    prefixes = ("", "k", "M", "G", "T")
    step, scaled = 0, float(n)
    while scaled >= 999.5 and step < len(prefixes) - 1:
        scaled, step = scaled / 1000, step + 1
    digits = 0 if step == 0 or scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    text = f"{scaled:.{digits}f}{prefixes[step]}"
    return f"{text}B" if unit == "byte" else f"{text} {unit}{'s' * (text != '1')}"


def _clock(seconds: float) -> str:
    """`0:40`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
