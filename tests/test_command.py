"""Ctrl-C while the command is still importing: one line and status 130, wherever it hits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPTED_AT = """
import os, signal, sys
from ppldelta_command import main

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[0]:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
_, sys.argv[0], *sys.argv[1:] = sys.argv
sys.exit(main())
"""


@pytest.mark.parametrize(
    "module",
    ["ppldelta", "ppldelta._load", "ppldelta._core", "numpy", "numpy.exceptions", "platformdirs", "loky",
     "ppldelta.cli", "polars", "polars._plr", "ppldelta.run.frames"],
)  # fmt: skip
def test_an_interrupt_during_an_import_is_said(tmp_path: Path, module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT, module, "demo", "--no-open"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 130, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("ppldelta: interrupted; ")


def test_an_ignored_interrupt_stays_ignored() -> None:
    """As for a command that a shell without job control starts in the background."""
    code = INTERRUPTED_AT.replace("signal.default_int_handler", "signal.SIG_IGN")
    ran = subprocess.run([sys.executable, "-c", code, "numpy", "--version"], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("ppldelta ")
