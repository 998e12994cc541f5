"""Processes in which a call cannot work: forks without the threads of polars, folders that are gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

import ppldelta
from conftest import alive, until
from ppldelta import demo
from ppldelta.engine import local

GOOD = demo.COMPARISONS[0]
TEXT = (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()
LONG = "\n".join(path.read_text() for path in sorted(demo.CORPUS.glob("prose/*.txt"))) * 10
QUIET = {"progress": False, "store": None}

FORKING = f"""
import multiprocessing, os, sys
import ppldelta

def call():
    return ppldelta.score({{"a": {TEXT!r}}}, {str(demo.REFERENCE)!r}, {str(GOOD)!r}, progress=False, store=None)

def child():
    try:
        WITHIN
        print("done")
    except ppldelta.PpldeltaError as error:
        print(error)

BEFORE
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
status = process.exitcode
process.kill()
sys.exit("the child waits" if status is None else status)
"""


def forked(tmp_path: Path, before: str, within: str) -> str:
    """What a forked child says of a call, and that it ends."""
    code = FORKING.replace("BEFORE", before).replace("WITHIN", within)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@pytest.mark.parametrize(
    "within",
    [
        "call()",
        f"ppldelta.plan({{'a': 'b'}}, {str(demo.REFERENCE)!r}, {str(GOOD)!r})",
        "ppldelta.load('saved')",
        "ppldelta.report(result, 'r.html')",
        "result.report('r.html')",
        "result.save('again')",
    ],
)
def test_a_fork_of_a_process_that_has_used_polars_is_refused(tmp_path: Path, within: str) -> None:
    said = forked(tmp_path, "result = call(); result.save('saved')", within)
    assert said.startswith("this process was forked from one that had loaded polars")
    assert "hint: " in said
    assert "forkserver" in said


def test_a_fork_of_a_fork_is_refused(tmp_path: Path) -> None:
    within = "os.fork() and (os.wait(), sys.exit()); call()"
    assert forked(tmp_path, "import polars", within).startswith("this process was forked")


def test_a_fork_before_polars_may_call(tmp_path: Path) -> None:
    assert forked(tmp_path, "from ppldelta import score", "call()") == "done\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_of_multiprocessing_that_has_called_ends(tmp_path: Path, method: str) -> None:
    """It waits for its own children, and the worker would wait for the next call."""
    script = tmp_path / "script.py"
    start, end = FORKING.replace("WITHIN", "call()").replace('"fork"', repr(method)).split("BEFORE")
    script.write_text(start + "if __name__ == '__main__':" + end.replace("\n", "\n    "))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")


@pytest.fixture
def gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which a test may remove."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_without_a_working_folder_a_call_is_refused(fresh: None, gone: Path) -> None:
    gone.rmdir()
    for call in (ppldelta.score, ppldelta.plan):
        for corpus in ({"a": TEXT}, "corpus"):
            with pytest.raises(ppldelta.PpldeltaError, match="there is no working folder") as caught:
                call(corpus, demo.REFERENCE, GOOD, **QUIET)
            assert "change to another one" in caught.value.hint


def test_a_working_folder_that_goes_during_a_run_disturbs_nothing(fresh: None, gone: Path) -> None:
    ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD, **QUIET)  # the worker has started
    timer = threading.Timer(0.2, gone.rmdir)
    timer.start()
    result = ppldelta.score({"a": LONG}, demo.REFERENCE, GOOD, **QUIET)
    timer.join()
    assert not gone.exists()
    with pytest.raises(ppldelta.PpldeltaError, match=r"cannot write `report\.html`"):
        result.report("report.html")
    with pytest.raises(ppldelta.PpldeltaError, match="cannot write to `out`"):
        result.save("out")


@pytest.mark.parametrize("arguments", [["score", "x", "--ref", "r", "--cmp", "c", "-o", "o"], ["demo"]])
def test_the_command_line_says_it_too(gone: Path, arguments: list[str]) -> None:
    ran = subprocess.run(
        ["sh", "-c", 'rmdir "$0" && exec "$@"', gone, sys.executable, "-m", "ppldelta.cli", *arguments],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.startswith("ppldelta: error: ")
    assert "Traceback" not in ran.stderr


def test_a_folder_for_temporary_files_that_goes_during_a_run_disturbs_nothing(
    fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD, **QUIET)  # the worker has started
    timer = threading.Timer(0.2, shutil.rmtree, [folder])
    timer.start()
    ppldelta.score({"a": LONG}, demo.REFERENCE, GOOD, **QUIET)
    timer.join()
    assert not folder.exists()
    ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD, **QUIET)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(GOOD.read_bytes()[:20_000])
    with pytest.raises(ppldelta.ModelError, match="broken"):
        ppldelta.score({"a": TEXT}, demo.REFERENCE, broken, **QUIET)
    worker = local.idle[0].executor.process
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: not alive(worker.pid), 10)
    with pytest.raises(ppldelta.PpldeltaError, match=f"worker process's files in `{folder}`") as caught:
        ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD, **QUIET)
    assert "TMPDIR" in caught.value.hint


def test_the_last_lines_of_a_worker_are_read_without_its_folder(fresh: None) -> None:
    """Where the worker is killed after its folder has gone."""
    ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD, **QUIET)
    (worker,) = local.idle
    shutil.rmtree(worker.stderr.parent)
    threading.Timer(0.7, os.kill, [worker.executor.process.pid, signal.SIGKILL]).start()
    with pytest.raises(ppldelta.ModelError, match="was ended by SIGKILL"):
        ppldelta.score({"a": LONG * 20}, demo.REFERENCE, GOOD, **QUIET)
