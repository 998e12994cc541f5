"""One build for many processors, without those processors: under qemu, each must pick its kernels and agree with here.

    python tests/emulated/x86.py

needs `qemu-user` and a package that was built with `-DPPLDELTA_PORTABLE=ON`. Exit status 0 where all is well.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

AVX512 = ("avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl")
PROCESSORS = {
    # as qemu names it → the kernels that it must get
    "Nehalem": "sse42",
    "Haswell": "haswell",
    # as a hypervisor may show it: whoever goes by the model instead of the features ends in SIGILL
    ",".join(["Skylake-Server", *(f"-{feature}" for feature in AVX512)]): "haswell",
}


def emulated() -> None:
    """In the emulated process: the kernels that were loaded, a line; then the log-probabilities."""
    from windows import score

    logp = score(Path(sys.argv[2]))
    kernels = set(re.findall(r"libggml-cpu-(\w+)\.", Path("/proc/self/maps").read_text()))
    sys.stdout.buffer.write(" ".join(sorted(kernels)).encode() + b"\n" + logp.astype("<f4").tobytes())


def main() -> int:
    from windows import MODELS, score, verdict

    python = os.path.realpath(sys.executable)  # a link of a virtual environment is no program that qemu can load
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    good = True
    for path in MODELS:
        here = score(path)
        for processor, kernels in PROCESSORS.items():
            ran = subprocess.run(
                ["qemu-x86_64", "-cpu", processor, python, __file__, "--emulated", path],
                capture_output=True, env=environment,
            )  # fmt: skip
            name = f"{path.stem} on {processor.split(',')[0]}{' without AVX-512' if ',' in processor else ''}"
            if ran.returncode:
                print(f"{name}: ended with {ran.returncode}: {ran.stderr.decode(errors='replace').strip()[-300:]}")
                good = False
                continue
            picked, _, logp = ran.stdout.partition(b"\n")
            if picked.decode() != kernels:
                print(f"{name}: picked the kernels `{picked.decode()}` instead of `{kernels}`: WRONG")
                good = False
            good &= verdict(f"{name} ({picked.decode()})", here, np.frombuffer(logp, "<f4"))
    return int(not good)


if __name__ == "__main__":
    sys.exit(emulated() if sys.argv[1:2] == ["--emulated"] else main())
