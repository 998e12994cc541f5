"""Looks at an installed CUDA build on a machine that need not have a GPU: what it links, and what it says.

python bench/cuda_look.py PYTHON TOOLKIT        PYTHON: that of the environment with the package
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def said(command: list[object], **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        list(map(str, command)), cwd="/", env={**os.environ, **environment}, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def require(holds: bool, what: str, shown: str) -> None:
    if not holds:
        raise SystemExit(f"wrong: {what}:\n{shown[-3000:]}")
    print(f"ok: {what}")


def main(python: Path, toolkit: Path) -> None:
    """Raises SystemExit where something is not as it should be."""
    find = "import importlib.util as u; print(u.find_spec('ppldelta').submodule_search_locations[0])"
    library = Path(said([python, "-c", find])[1].strip()) / "lib" / "libggml-cuda.so"
    _, dynamic = said(["readelf", "-d", library])
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)
    require({"libcudart.so.13", "libcublas.so.13"} <= set(needed), f"it needs {', '.join(needed)}", dynamic)
    require("libcuda.so.1" not in needed, "it does not need the driver to be loaded", dynamic)
    path = "".join(re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.+)\]", dynamic)).split(":")
    for place in ("$ORIGIN", "$ORIGIN/../../nvidia/cu13/lib"):
        require(place in path, f"it looks for them in {place}", dynamic)
    here = toolkit.resolve() / "lib64"
    require(here.resolve() in (Path(each).resolve() for each in path), f"it looks for them in {here}", dynamic)

    status, text = said([python, "-m", "pip", "show", "nvidia-cublas"])
    require(status != 0, "the environment has no CUDA packages of its own", text)
    if (toolkit / "nvvm").is_symlink():  # made by cuda_toolkit.py, and not the machine's own
        away = toolkit.with_name(toolkit.name + ".away")
        toolkit.rename(away)
        try:
            status, text = said([python, "-c", "import ppldelta"])
        finally:
            away.rename(toolkit)
        clear = status == 1 and "hint: this build is for CUDA 13" in text
        require(clear, "without CUDA's libraries the import says what is missing", text)
        print(*text.strip().splitlines()[-2:], sep="\n")

    _, text = said([python, "-c", "from ppldelta.engine import native; print(native.build())"])
    print(text.strip())
    if "gpu=False" in text:
        require("idle=('CUDA',)" in text, "without a driver it knows that it finds no device", text)
        status, text = said(
            [python, "-m", "ppldelta.cli", "demo", "-o", toolkit.parent / "demo"],
            PPLDELTA_STORE=str(toolkit.parent / "store.sqlite"),
        )
        require(
            status == 0 and "This build is for CUDA, but finds no device (" in text,
            "the demo runs on the CPU and says why",
            text,
        )
        print(text.strip())


if __name__ == "__main__":
    main(*(Path(each).absolute() for each in sys.argv[1:3]))
