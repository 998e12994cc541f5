"""The package's public names: found late, so that a worker process stays small, and otherwise as if they were there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ppldelta


def run(code: str) -> str:
    """What a fresh Python prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_import_brings_neither_polars_nor_plotly() -> None:
    code = "import sys, ppldelta; print({'polars', 'plotly', 'loky', 'tqdm'} & {n.split('.')[0] for n in sys.modules})"
    assert run(code) == "set()\n"


def test_polars_is_imported_while_the_worker_starts() -> None:
    """So neither the command line nor `score` may bring it when they are imported."""
    code = "import sys, ppldelta.cli; ppldelta.score; print({'polars', 'plotly', 'jinja2'} & set(sys.modules))"
    assert run(code) == "set()\n"


def test_every_public_name_is_there() -> None:
    assert set(ppldelta.__all__) <= set(dir(ppldelta))
    for name in ppldelta.__all__:
        assert getattr(ppldelta, name) is not None
    names = set(run("from ppldelta import *; print(*dir())").split())
    assert set(ppldelta.__all__) - {"__version__"} <= names


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="`ppldelta` has no attribute `scores`"):
        _ = ppldelta.scores
