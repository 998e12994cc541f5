"""Progress in a notebook: all of a cell's meters as lines of one output, which is written anew as they move.

It needs no ipywidgets: every front end of Jupyter can replace an output that has a name. A notebook that is saved keeps
what it showed last.
"""

from __future__ import annotations

import contextlib
import html
import itertools
import sys
import time
from typing import Any

_PAUSE_S = 0.2
"""Least seconds between two messages to the front end."""

_numbers = itertools.count(1)


class Line:
    """One line of a board.

    Attributes:
        text: what it says; empty for a line that is not shown.
        part: how much is done, 0 to 1; None if nothing is under way.
    """

    def __init__(self, board: Board) -> None:
        self.text = ""
        self.part: float | None = None
        self._board = board

    def show(self, text: str, part: float | None = None, *, now: bool = False) -> None:
        """Says something else; `now` does not wait for the pause between two messages."""
        self.text, self.part = text, part
        self._board.refresh(now=now)


class Board:
    """The lines of one cell.

    Args:
        shell: IPython's.
    """

    def __init__(self, shell: Any) -> None:
        self._publish = shell.display_pub.publish
        self._key = f"ppldelta-progress-{next(_numbers)}"
        self._lines: list[Line] = []
        self._published: float | None = None

    def line(self) -> Line:
        """A new line, below all others."""
        self._lines.append(Line(self))
        return self._lines[-1]

    def refresh(self, *, now: bool) -> None:
        """Sends all lines to the front end, if the last time is long enough ago or it must be."""
        lines = [line for line in self._lines if line.text]
        shown = self._published is not None
        if not (lines or shown) or (not now and shown and time.monotonic() - (self._published or 0) < _PAUSE_S):
            return
        self._published = time.monotonic()
        data = {"text/plain": "\n".join(line.text for line in lines), "text/html": _html(lines)}
        transient = {"display_id": self._key}
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a front end that is gone
            self._publish(data=data, metadata={}, transient=transient, update=shown)


def board() -> Board | None:
    """The board of the running cell; None outside a Jupyter kernel."""
    global _last
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return None
    cell = (id(shell), getattr(shell, "execution_count", 0))
    if _last is None or _last[0] != cell:
        _last = cell, Board(shell)
    return _last[1]


_last: tuple[tuple[int, int], Board] | None = None


def _html(lines: list[Line]) -> str:
    rows = []
    for line in lines:
        bar = "" if line.part is None else f'<progress value="{line.part:.4f}" max="1"></progress> '
        rows.append(f"<div>{bar}{html.escape(line.text)}</div>")
    return f'<div style="font-size:90%;opacity:0.75">{"".join(rows)}</div>'
