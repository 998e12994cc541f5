"""What is written: nothing that steers a terminal; where it cannot be written, there is no traceback."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import polars as pl
import pytest

import ppldelta
from ppldelta import demo
from ppldelta.console import terminal
from ppldelta.reporting.as_text import as_text
from ppldelta.wording.names import columns, escaped, shown_name, width

TEXT = demo.CORPUS / "prose" / "being_early.txt"
EVIL = "evil\x1b[31m\x07\n\u202emodel\x9b2J"


def shell(line: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`ppldelta ARGUMENTS` where a line of bash says `run`."""
    program = [sys.executable, "-m", "ppldelta.cli", *map(str, arguments)]
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("run", '"$@"'), "bash", *program],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        env={**os.environ, **environment},
    )


def score(out: Path, *more: object) -> list[object]:
    return ["score", TEXT, "--ref", demo.REFERENCE, "--cmp", demo.COMPARISONS[0], "-o", out, *more]


# --- what cannot be written -----------------------------------------------------------------------------------------

CASES = [
    ("run | true", 141, ""),
    ("run >&-", 1, "ppldelta: error: cannot write to stdout: Bad file descriptor\n"),
    ("run > /dev/full", 1, "ppldelta: error: cannot write to stdout: No space left on device\n"),
    ("run 2>&-", 0, ""),
    ("run 2> /dev/full", 0, ""),
    ("run >&- 2>&-", 1, ""),
    ("run <&- >&- 2>&-", 1, ""),
    ("run > /dev/full 2>&1", 1, ""),
]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("line", "status", "said"), CASES)
@pytest.mark.parametrize("command", ["store", "--help", "--version"])
def test_no_traceback_whatever_becomes_of_the_output(
    command: str, line: str, status: int, said: str, unbuffered: str
) -> None:
    for _ in range(3 if "|" in line else 1):  # whether `true` has ended by then is chance
        ran = shell(line, command, PYTHONUNBUFFERED=unbuffered)
        assert ran.stderr == said
        assert ran.returncode in ({status, 0} if "|" in line else {status})


@pytest.mark.parametrize(("line", "status", "said"), [*CASES, ("run 2>&1 | head -c 1", 141, "")])
def test_what_is_computed_is_saved(tmp_path: Path, line: str, status: int, said: str) -> None:
    ran = shell(line, *score(tmp_path / "out"))
    assert ran.returncode == status
    assert ran.stderr.endswith(said)
    assert "Traceback" not in ran.stderr and "Exception ignored" not in ran.stderr
    assert ppldelta.verify(tmp_path / "out") == []


def test_a_failure_keeps_its_status(tmp_path: Path) -> None:
    arguments = [*score(tmp_path / "out"), "--cmp", tmp_path / "none.gguf"]
    for line in ("run > /dev/full", "run 2> /dev/full", "run 2>&-", "run 2>&1 | true"):
        assert shell(line, *arguments).returncode == 1
        assert shell(line, "score", "--nonsense").returncode == 2
    assert not (tmp_path / "out").exists()


def test_nothing_else_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """The store opened as descriptor 1 or 2 would be printed into."""
    for line in ("run >&- 2>&-", "run <&- 2>&-"):
        shell(line, *score(tmp_path / "out", "--store", tmp_path / "s.sqlite", "-v"))
    assert shell("run", "store", "--store", tmp_path / "s.sqlite").returncode == 0
    again = shell("run", *score(tmp_path / "again", "--store", tmp_path / "s.sqlite"))
    assert "every model is in the store" in again.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_without_the_characters_gets_others(tmp_path: Path, encoding: str) -> None:
    model = tmp_path / f"日本é{'x' * 80}.gguf"
    model.symlink_to(demo.COMPARISONS[2])
    ran = shell("run", *score(tmp_path / "out", "--cmp", model), LC_ALL="C", PYTHONIOENCODING=encoding)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^\+-+\+$", ran.stdout, re.MULTILINE)
    assert re.search(r"^\| tiny-code\.Q8_0 .* \|$", ran.stdout, re.MULTILINE)
    assert "\\u65e5\\u672c" in ran.stdout and "xxx...xxx" in ran.stdout


# --- what steers a terminal -----------------------------------------------------------------------------------------


def steering(text: str) -> set[str]:
    """Characters of a text that are neither seen nor a space nor the end of a line."""
    return {
        c for c in text if (c != "\n" and unicodedata.category(c)[0] == "C") or unicodedata.category(c) in ("Zl", "Zp")
    }


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    path = tmp_path / f"{EVIL}.gguf"
    path.symlink_to(demo.COMPARISONS[0])
    return path


def test_names_of_models_steer_no_terminal(tmp_path: Path, evil: Path, demo_result: ppldelta.Result) -> None:
    broken = tmp_path / f"{EVIL}broken.gguf"
    broken.write_bytes(demo.REFERENCE.read_bytes()[:-4096] + b"\xff" * 4096)
    cut = tmp_path / f"{EVIL}cut.gguf"
    cut.write_bytes(demo.REFERENCE.read_bytes()[:4096])
    reference = tmp_path / f"{EVIL}ref.gguf"
    reference.symlink_to(demo.REFERENCE)
    out = tmp_path / f"{EVIL}out"
    common = ["score", TEXT, "--ref", reference, "--cmp", evil, "--cmp", f"{EVIL}label={demo.COMPARISONS[2]}"]
    for arguments in (
        [*common, "--dry-run"],
        [*common, "--cmp", broken, "--cmp", cut, "-o", out, "-v", "--strict"],
        ["store"],
        ["store", "prune", "--model", EVIL],
        ["verify", out, tmp_path / EVIL],
        ["report", tmp_path / EVIL, "-o", tmp_path / "x.html"],
        ["report", out, "-o", out / "report.html" / EVIL],
        ["score", tmp_path / EVIL, "--ref", reference, "--cmp", evil, "-o", out],
        ["score", TEXT, "--ref", tmp_path / EVIL, "--cmp", evil, "-o", out],
        ["score", TEXT, "--ref", reference, "--cmp", tmp_path, "-o", out],
        ["score", TEXT, "--ref", reference, "--cmp", evil, "-o", evil],
        ["score", TEXT, "-c", EVIL, "--ref", reference, "--cmp", evil, "-o", out],
        ["score", TEXT, f"--{EVIL}", "--ref", reference, "--cmp", evil, "-o", out],
        ["store", "--older-than", EVIL],
        [EVIL],
    ):
        ran = shell("run", *arguments)
        said = ran.stdout + ran.stderr
        assert steering(said) == set(), arguments
        assert "Traceback" not in said
        assert "evil" in said or arguments == ["store"], arguments
    result = ppldelta.load(out)
    assert set(result.models["model"]) == {EVIL, f"{EVIL}label"}, "the data keep the names"
    assert steering(repr(result)) == set()
    assert {len(line) for line in repr(result).splitlines()[1:6]} == {len(repr(result).splitlines()[1])}


def test_a_path_is_for_programs_as_it_is(tmp_path: Path, demo_result: ppldelta.Result) -> None:
    out = demo_result.save(tmp_path / "out")
    name = os.fsencode(tmp_path / "page\x1b[31m") + b"\xff.html"
    ran = subprocess.run(
        [sys.executable, "-m", "ppldelta.cli", "report", out, "-o", name], capture_output=True, timeout=60
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, name + b"\n", b"")


def test_a_label_that_is_not_utf8(tmp_path: Path) -> None:
    label = os.fsdecode(b"caf\xe9") + f"={demo.COMPARISONS[1]}"
    ran = shell("run", *score(tmp_path / "out", "--cmp", label))
    assert ran.returncode == 0, ran.stderr
    assert "caf\\xe9" in ran.stdout
    assert "caf\\xe9" in ppldelta.load(tmp_path / "out").models["model"].to_list()


def table_of(text: str) -> list[str]:
    """The lines between which the frame of a table begins and ends."""
    lines = text.splitlines()
    return lines[
        next(i for i, line in enumerate(lines) if line[0] == "┌") : 1
        + next(i for i, line in enumerate(lines) if line[0] == "└")
    ]


@pytest.mark.parametrize("label", ["日本語モデル" * 3, "x" * 1000, "ﬀ" * 60, "e\u0301" * 20, "汉" * 500])
def test_wide_and_long_labels_keep_the_table(label: str, demo_result: ppldelta.Result) -> None:
    def renamed(name: str) -> pl.DataFrame:
        frame = getattr(demo_result, name)
        return frame.with_columns(pl.col("model").cast(pl.String).replace({"tiny-ref.Q2_K": label}))

    result = ppldelta.Result(
        *(renamed(name) for name in ("tokens", "documents", "models")),
        demo_result.pieces,
        demo_result.texts,
        demo_result.families,
    )
    table = table_of(repr(result))
    assert len(table) in (7, 10), "a line for each model, or two"
    assert len({width(line) for line in table}) == 1
    assert max(map(width, table)) <= 160
    two = table_of(repr(dataclasses.replace(result, families=result.families * 2)))
    assert (len(two), len({width(line) for line in two})) == (10, 1)
    assert max(map(width, two)) <= 160
    rows = columns([(shown_name(label), "1"), ("short", "1000")], n_left=1)
    assert len({width(row) for row in rows}) == 1


def test_the_table_has_intervals_and_sizes_and_fits(demo_result: ppldelta.Result) -> None:
    kld = {"kld": 0.3, "kld_low": 0.2, "kld_high": 0.5, "kld_p99": 1.5, "same_top": 0.83}
    plain = demo_result._overall
    overall = plain.with_columns(**{name: pl.lit(value) for name, value in kld.items()})
    for frame, most, n_lines in ((plain, 120, 3), (plain, 80, 6), (overall, 120, 6)):
        text = as_text(demo_result.families, frame, most=most)
        table = table_of(text)
        assert len(table) == 4 + n_lines, "intervals stand below their values if there is no room beside them"
        assert {width(line) for line in table} == {width(table[0])} and max(map(width, text.splitlines())) <= most
        assert table[1].split()[-4:-2] == ["damage", "size"] if frame is plain else "KLD" in table[1]
        row = frame.row(by_predicate=pl.col("model") == "tiny-ref.Q2_K", named=True)
        spread = f"{(row['gain_high'] - row['gain_low']) / 2:.3f}"
        assert re.search(rf"0\.189 +(0\.473.*\n.*)?± ?{spread}", text) and "693\xa0kB" in text
    text = as_text(demo_result.families, overall, most=70)
    assert "no room for" in text and "KLD 99 %" not in table_of(text)[1] and "KLD" in table_of(text)[1]
    assert max(map(width, table_of(text))) <= 70


def test_the_table_stays_one_in_ascii(demo_result: ppldelta.Result) -> None:
    with terminal._any_encoding():
        text = repr(demo_result).encode("ascii", "ppldelta.replace").decode()
    assert "~: half of the 95 % interval" in text and "\\" not in text
    assert len({len(line) for line in text.splitlines() if line[0] in "+|"}) == 1


def test_spaces_and_lines_stay() -> None:
    assert escaped("a\n b\u202f1\xa0MB") == "a\n b\u202f1\xa0MB"
    assert escaped("\r\t\x1b[0m\x85\u2028\udcff") == "\\r\\t\\x1b[0m\\x85\\u2028\\udcff"


def test_log_lines_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    handler = terminal.LogLines()
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "name \x1b[31m %s", ("\x07",), None))
    assert capsys.readouterr().err == "name \\x1b[31m \\x07\n"
