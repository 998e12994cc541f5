"""What an import says where the extension cannot be loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ppldelta
from ppldelta._load import hint

NOT_FOUND = "{}: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("library", "parts"),
    [
        ("libcuda.so.1", ["NVIDIA's driver", "GGML_CUDA_NO_VMM"]),
        ("libcudart.so.13", ["CUDA 13", "`pip install nvidia-cuda-runtime nvidia-cublas`", "LD_LIBRARY_PATH"]),
        ("libcublas.so.12", ["CUDA 12", "`pip install nvidia-cuda-runtime-cu12 nvidia-cublas-cu12`"]),
        ("libvulkan.so.1", ["install the library `libvulkan.so.1`"]),
        ("libggml-base.so", ["`pip install .`"]),
    ],
)
def test_the_hint_names_the_library_and_the_remedy(library: str, parts: list[str]) -> None:
    said = hint(NOT_FOUND.format(library))
    assert all(part in said for part in parts)


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    """A copy of the package, of which one library is gone."""
    package = Path(ppldelta.__file__).parent
    copy = tmp_path / "ppldelta"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("demo", "bin", "report"))
    next((copy / "lib").glob("libggml-base.*")).unlink()
    run = subprocess.run(
        [sys.executable, "-c", "import ppldelta"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    assert "extension cannot be loaded (libggml-base" in run.stderr
    assert run.stderr.rstrip().endswith("hint: " + hint(NOT_FOUND.format("libggml-base.so")))


def test_without_the_extension_the_source_folder_is_to_blame(tmp_path: Path) -> None:
    without = shutil.ignore_patterns("_core*", "lib", "demo", "bin", "report")
    shutil.copytree(Path(ppldelta.__file__).parent, tmp_path / "ppldelta", ignore=without)
    run = subprocess.run(
        [sys.executable, "-c", "import ppldelta"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    assert "run Python outside of its source folder" in run.stderr
