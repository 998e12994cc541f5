"""The engine's C++ on ARM, without an ARM machine: cross-compiled, run under qemu, compared with the package here.

    python tests/emulated/arm.py --llama-cpp build/TAG/llama.cpp --work build/arm

needs `g++-aarch64-linux-gnu`, `qemu-user`, CMake, ccache, and the staged llama.cpp that a build of the package leaves.
Exit status 0 where all is well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from windows import MODELS, N_CTX, N_OUTPUTS_MAX, N_UBATCH, first_windows, score, verdict

from ppldelta.engine.native import Model


def build(llama_cpp: Path, work: Path, arch: str) -> Path:
    """The program that scores windows, for ARM."""
    switches = {
        "LLAMA_CPP_DIR": llama_cpp.resolve(),
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "GGML_CPU_ARM_ARCH": arch,
        "CMAKE_C_COMPILER": "aarch64-linux-gnu-gcc",
        "CMAKE_CXX_COMPILER": "aarch64-linux-gnu-g++",
        "CMAKE_C_COMPILER_LAUNCHER": "ccache",
        "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
    }
    for command in (
        ["cmake", "-S", Path(__file__).parent, "-B", work, *(f"-D{name}={value}" for name, value in switches.items())],
        ["cmake", "--build", work, "--target", "score_windows", "--parallel", "2"],
    ):
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(f"{done.stdout[-4000:]}\nerror: `{' '.join(map(str, command[:3]))} …` failed")
    return work / "score_windows"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, required=True, help="the staged llama.cpp")
    parser.add_argument("--work", type=Path, required=True, help="folder to build in")
    parser.add_argument("--arch", default="armv8.2-a+dotprod", help="what to compile for (default: %(default)s)")
    options = parser.parse_args()
    program = build(options.llama_cpp, options.work, options.arch)
    good = True
    for path in MODELS:
        words = [
            np.concatenate([[len(window.tokens), window.first_output], window.tokens, window.targets]).astype("<i4")
            for window in first_windows(Model(path, vocab_only=True))
        ]
        command = ["qemu-aarch64", "-cpu", "max", program, path, N_CTX, N_UBATCH, N_OUTPUTS_MAX]
        stdin = b"".join(each.tobytes() for each in words)
        ran = subprocess.run(list(map(str, command)), input=stdin, stdout=subprocess.PIPE)
        if ran.returncode:
            print(f"{path.stem} on {options.arch}: ended with {ran.returncode}: WRONG")
            good = False
            continue
        good &= verdict(f"{path.stem} on {options.arch}", score(path), np.frombuffer(ran.stdout, "<f4"))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
