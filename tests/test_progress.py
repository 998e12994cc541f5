"""Progress: a bar on a terminal, few whole lines elsewhere, and never a reason to fail."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import sys
import time
from collections.abc import Iterator

import pytest

from ppldelta.console import progress
from ppldelta.console.progress import line, meter, watched


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_lines_come_every_ten_seconds_and_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with meter("tiny", 12_300, "token") as shown:
        clock.now += 5  # it is loaded
        shown.update(0)
        for _ in range(123):
            clock.now += 0.25
            shown.update(100)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "tiny: 16 % of 12.3k tokens, 400 tokens/s, 0:26 left\n"
        "tiny: 48 % of 12.3k tokens, 400 tokens/s, 0:16 left\n"
        "tiny: 81 % of 12.3k tokens, 400 tokens/s, 0:06 left\n"
        "tiny: 12.3k tokens in 0:31, 400 tokens/s\n"
    )


def test_the_speed_is_that_of_what_was_evaluated(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with meter("m", 2000, "token", initial=1000) as shown:
        shown.note("3 of 6 windows from the store")
        for _ in range(2):
            clock.now += 10
            shown.update(500)
    assert capsys.readouterr().err.splitlines() == [
        "m: 75 % of 2.00k tokens, 50 tokens/s, 0:10 left",
        "m: 100 % of 2.00k tokens, 50 tokens/s, 0:00 left",
        "m: 1.00k tokens in 0:20, 50 tokens/s; 3 of 6 windows from the store",
    ]


def test_what_is_brief_or_hidden_or_failed_leaves_no_last_line(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with meter("reading", 5 * 10**9, "byte", brief=True) as shown:
        clock.now += 9
        shown.update(10**9)
    with meter("hidden", 10, "token", visible=False) as shown:
        clock.now += 60
        shown.update(5)
    with pytest.raises(ZeroDivisionError), meter("failed", 10, "token"):
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""
    with meter("reading", 5 * 10**9, "byte", brief=True) as shown:
        clock.now += 20
        shown.update(10**9)
    assert capsys.readouterr().err == "reading: 20 % of 5.00GB, 50.0MB/s, 1:20 left\n"


def test_items_that_pass_are_counted_in_thousands(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def ticking() -> Iterator[int]:
        for i in range(2500):
            clock.now += 0.011
            yield i

    assert list(watched(ticking(), "cutting windows", 2500, "document", visible=True)) == list(range(2500))
    assert capsys.readouterr().err == (
        "cutting windows: 40 % of 2.50k documents, 91 documents/s, 0:16 left\n"
        "cutting windows: 80 % of 2.50k documents, 91 documents/s, 0:05 left\n"
    )


def test_a_name_stays_on_its_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with meter("evil\x1b[31m\nname" + "x" * 300 + ".Q4_K_M", 10, "token") as shown:
        shown.update(10)
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("evil\\x1b[31m\\nnamex")
    assert "x.Q4_K_M: 10 tokens in " in said
    assert len(said.split(":")[0]) <= 48


def test_what_cannot_be_written_is_not_shown(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    with open("/dev/full", "w") as full:
        for stream in (None, closed, full):
            monkeypatch.setattr(sys, "stderr", stream)
            line("lost")
            with meter("lost", 10, "token") as shown:
                clock.now += 20
                shown.update(10)
        monkeypatch.undo()
        with pytest.raises(OSError):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def all_of(terminal: int) -> str:
    """What was written to a pseudo-terminal whose other end is closed; one read may give a part of it."""
    parts = []
    with contextlib.suppress(OSError):  # the end: EIO
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    return b"".join(parts).decode()


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, stderr = pty.openpty()
    with open(stderr, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with meter("tiny", 100, "token") as shown:
            shown.update(50)
            shown.note("half from the store")
    said = all_of(terminal)
    assert "tiny: 100%" not in said and "50.0/100" in said
    assert "half from the store" in said
    assert "\r" in said.replace("\r\n", "")
    os.close(terminal)


def test_a_terminal_that_is_gone_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, stderr = pty.openpty()
    with open(stderr, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with meter("tiny", 100, "token") as shown:
            shown.update(10)
            os.close(terminal)
            for _ in range(9):
                time.sleep(0.15)
                shown.update(10)
        line("lost")
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
