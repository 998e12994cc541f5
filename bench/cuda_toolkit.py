"""Makes one folder of a CUDA compiler and a cuBLAS that lie apart, as CMake wants them: bin, include, lib64, nvvm.

cuBLAS comes in a Python package (`nvidia-cublas`, unpacked below `nvidia/cu13`) without the names that a linker looks
for (`libcublas.so`). A toolkit that has it already is used as it is. Prints the folder to give as CUDAToolkit_ROOT.

    python bench/cuda_toolkit.py work/toolkit --libraries work/cublas
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = ("libcudart.so", "libcublas.so", "libcublasLt.so")
HEADERS = ("cuda_runtime.h", "cublas_v2.h")


class Missing(Exception):
    """What a toolkit needs and is not there."""


def compiler() -> Path:
    """The nvcc of this machine: the variable NVCC, the one on the path, or the newest below /usr/local.

    What is on the path may be a script that calls the compiler, so the compiler is asked where it is.
    """
    named = os.environ.get("NVCC") or shutil.which("nvcc")
    found = [Path(named)] if named else sorted(Path("/usr/local").glob("cuda*/bin/nvcc"))
    if not found or not found[-1].exists():
        raise Missing("no nvcc: it is not on the path, and there is no /usr/local/cuda*/bin/nvcc; NVCC=FILE names one")
    said = subprocess.run([found[-1], "--dryrun", "-v", "none.cu"], capture_output=True, text=True).stderr
    top = re.search(r"^#\$ TOP=(.+)$", said, re.M)
    if not top:
        raise Missing(f"`{found[-1]} --dryrun -v` does not say where the toolkit is: {said[:200]!r}")
    return Path(top[1].strip()).resolve() / "bin" / "nvcc"


def places(root: Path) -> Iterator[tuple[Path, Path]]:
    """Folders of headers and of libraries that a toolkit or a Python package may have."""
    for inside in (root, *sorted(root.glob("targets/x86_64-linux"))):
        for name in ("lib64", "lib"):
            yield inside / "include", inside / name


def is_whole(root: Path) -> bool:
    """Whether a toolkit has all that ggml's CUDA backend includes and links."""
    return any(
        all((include / name).exists() for name in HEADERS) and all((lib / name).exists() for name in LIBRARIES)
        for include, lib in places(root)
    )


def packages(folders: list[Path]) -> list[Path]:
    """Folders `nvidia/cu13` (or of another version) below the given ones and on Python's path."""
    return [found for folder in [*folders, *map(Path, sys.path)] for found in sorted(folder.glob("nvidia/cu[0-9]*"))]


def link(source: Path, target: Path) -> None:
    if not target.exists():
        target.unlink(missing_ok=True)  # a link to what is gone
        target.symlink_to(source.resolve())


def make(into: Path, nvcc: Path, sources: list[Path]) -> Path:
    """A toolkit of links to what stands first in `sources`. nvcc is copied: it tells CMake where it is."""
    for name in ("bin", "include", "lib64"):
        (into / name).mkdir(parents=True, exist_ok=True)
    for tool in nvcc.parent.iterdir():
        if tool.name in ("nvcc", "nvcc.profile"):
            shutil.copy2(tool, into / "bin" / tool.name)
        else:
            link(tool, into / "bin" / tool.name)
    link(nvcc.parent.parent / "nvvm", into / "nvvm")
    if not (into / "lib").exists():
        (into / "lib").symlink_to("lib64")
    for root in sources:
        for include, lib in places(root):
            for header in include.iterdir() if include.is_dir() else ():
                link(header, into / "include" / header.name)
            for library in lib.iterdir() if lib.is_dir() else ():
                link(library, into / "lib64" / library.name)
                plain = re.sub(r"\.so\.[0-9.]+$", ".so", library.name)
                if plain != library.name:
                    link(library, into / "lib64" / plain)
    if not is_whole(into):
        where = ", ".join(map(str, sources))
        raise Missing(f"not all of {', '.join((*HEADERS, *LIBRARIES))} are in {where}; `pip install nvidia-cublas`")
    return into


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("into", type=Path, help="folder to make, where the compiler's own has no cuBLAS")
    parser.add_argument("--libraries", type=Path, action="append", default=[], help="where `nvidia-cublas` is unpacked")
    args = parser.parse_args()
    try:
        nvcc = compiler()
        root = nvcc.parent.parent
        print(root if is_whole(root) else make(args.into.absolute(), nvcc, [root, *packages(args.libraries)]))
    except Missing as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
