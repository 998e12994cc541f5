"""The checks of the source that need no model: style, format, types. `.pre-commit-config.yaml` runs the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 330
COMMANDS = {
    "ruff check": ["ruff", "check", "--no-cache", "."],
    "ruff format": ["ruff", "format", "--no-cache", "--check", "."],
    "mypy": ["mypy"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_source_passes(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[name]], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_before_a_commit_the_same_runs() -> None:
    entries = re.findall(r"entry: (\w+(?: (?:check|format))?)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert entries == list(COMMANDS)


def test_no_module_is_longer_than_one_sitting() -> None:
    modules = [*(ROOT / "python").rglob("*.py"), *(ROOT / "python").rglob("*.js"), *(ROOT / "cpp").iterdir()]
    long = {path.name: n for path in modules if (n := len(path.read_text().splitlines())) > MOST_LINES}
    assert not long
