"""The patched llama-perplexity for Windows, without Windows: cross-compiled, run under Wine, compared with that here.

    python tests/emulated/windows_tool.py --llama-cpp build/windows/llama.cpp --work build/windows

needs `g++-mingw-w64-x86-64-posix`, `wine`, CMake, ccache, the staged llama.cpp, and an installed package, whose tool it
runs here. `--portable PACKAGE` names one with kernels for many processors instead: its tool gets those of the tool for
Windows, and the same numbers must come out. Exit status 0 where all is well.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from windows import N_CTX, N_UBATCH, verdict

import ppldelta
from ppldelta import _core, demo
from ppldelta.engine.native import Model

PREFIX = "x86_64-w64-mingw32"
SWITCHES = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_SYSTEM_NAME": "Windows",
    "CMAKE_SYSTEM_PROCESSOR": "x86_64",
    "CMAKE_C_COMPILER": f"{PREFIX}-gcc-posix",
    "CMAKE_CXX_COMPILER": f"{PREFIX}-g++-posix",
    "CMAKE_C_COMPILER_LAUNCHER": "ccache",
    "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
    # GCC aligns the stack of Windows to 16 bytes, and may move 32 as if they were aligned (GCC bug 54412). Debian's GCC
    # does not; with this flag the assembler makes every move an unaligned one.
    # ggml's C asks Windows 8 and later for THREAD_POWER_THROTTLING_STATE, which mingw-w64 10 (Debian 12) does not know.
    "CMAKE_C_FLAGS": "-Wa,-muse-unaligned-vector-move -D_WIN32_WINNT=0x0601",
    "CMAKE_CXX_FLAGS": "-Wa,-muse-unaligned-vector-move",
    "CMAKE_EXE_LINKER_FLAGS": "-static",
    "CMAKE_FIND_ROOT_PATH": f"/usr/{PREFIX}",
    **{f"CMAKE_FIND_ROOT_PATH_MODE_{kind}": "ONLY" for kind in ("INCLUDE", "LIBRARY", "PACKAGE")},
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_CCACHE": "OFF",
    "GGML_NATIVE": "OFF",
    # what llama.cpp builds for where it does not cross-compile, as for the tool of .github/workflows/wheels.yml
    **{f"GGML_{feature}": "ON" for feature in ("SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C")},
    "GGML_OPENMP": "OFF",
    "LLAMA_ALL_WARNINGS": "OFF",
    "LLAMA_OPENSSL": "OFF",
    **{f"LLAMA_BUILD_{part}": "OFF" for part in ("TESTS", "EXAMPLES", "SERVER", "UI", "APP")},
}

OTHER_KERNELS = {"largest": 0.2, "mean": 0.01, "of the mean": 1.1e-3}
"""Nats, as `windows.TOLERANCE`: three times what was measured with AMX here against AVX2 there, 2026-11-24."""
SAME_KERNELS = dict.fromkeys(OTHER_KERNELS, 3e-6)
"""Three times the largest difference that was measured with AVX2 here and there, 2026-11-24."""

TEXT = demo.CORPUS / "prose" / "a_history_of_nether_wick.txt"
FOREIGN = "größe 日本"
"""In the names of files: no code page of Windows has all of it."""

FAILURES = {
    "a text that is too short": ("-m", "ref.gguf", "-bf", "text.txt", "-c", 4096),
    "a model that is not there": ("-m", "none.gguf", "-bf", "text.txt", "-c", N_CTX),
    "deltas without a comparison": ("-m", "ref.gguf", "-bf", "text.txt", "-c", N_CTX, "--signed-deltas", "r.npy"),
    **{
        name: ("-m", "ref.gguf", "-c", N_CTX, "--kl-divergence", "--kl-divergence-base", base, "--signed-deltas", out)
        for name, base, out in (
            ("a base that is not there", "none.kld", "r.npy"),
            ("a base that is none", "text.txt", "r.npy"),
            ("a base that is cut off", "half.kld", "r.npy"),
            ("a folder that is not there", "here.kld", "none/r.npy"),
        )
    },
}


@dataclass(frozen=True)
class Tool:
    """A llama-perplexity, the folder that it runs in, and what it needs in its environment."""

    command: tuple[str, ...]
    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*self.command, *map(str, ("-b", N_CTX, "-ub", N_UBATCH, "-t", 2, *arguments))]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, encoding="utf-8", timeout=600
        )

    def good(self, *arguments: object) -> str:
        """What it prints to stdout."""
        ran = self.run(*arguments)
        if ran.returncode:
            said = "\n".join(ran.stderr.splitlines()[-5:])
            sys.exit(f"{said}\nerror: {' '.join(map(str, arguments))} in {self.folder} ended with {ran.returncode}")
        return ran.stdout


def build(llama_cpp: Path, folder: Path) -> Path:
    """The tool, for Windows."""
    switches = [f"-D{name}={value}" for name, value in SWITCHES.items()]
    for command in (
        ["cmake", "-S", llama_cpp.resolve(), "-B", folder, *switches],
        ["cmake", "--build", folder, "--target", "llama-perplexity", "--parallel", "2"],
    ):
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(f"{done.stdout[-4000:]}\nerror: `{' '.join(map(str, command[:3]))} …` failed")
    return folder / "bin" / "llama-perplexity.exe"


def with_the_same_kernels(package: Path, folder: Path) -> Path:
    """A copy of a portable package's tool that has only the kernels for AVX2."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("bin", "lib"):
        others = shutil.ignore_patterns("libggml-cpu-*")
        shutil.copytree(package / part, folder / part, ignore=others)
    shutil.copy(package / "bin" / "libggml-cpu-haswell.so", folder / "bin")
    return folder / "bin" / "llama-perplexity"


def prepare(work: Path, here: Path, program: Path) -> tuple[Tool, Tool]:
    """The tool here and that for Windows, with the same files."""
    wine = {
        **{name: value for name, value in os.environ.items() if name != "DISPLAY"},
        "WINEPREFIX": str((work / "prefix").resolve()),
        "WINEDEBUG": "-all",
        "LC_ALL": "C.UTF-8",  # or Wine cannot name files as their names are here
    }
    tools = (
        Tool((str(here.resolve()),), work / "run" / "here", dict(os.environ)),
        Tool(("wine", str(program.resolve())), work / "run" / "windows", wine),
    )
    for tool in tools:
        shutil.rmtree(tool.folder, ignore_errors=True)
        tool.folder.mkdir(parents=True)
        for source, name in (
            (TEXT, "text.txt"),
            (demo.REFERENCE, "ref.gguf"),
            (demo.COMPARISONS[0], "code.gguf"),
            (demo.COMPARISONS[2], f"{FOREIGN}.gguf"),
        ):
            shutil.copyfile(source, tool.folder / name)
    return tools


def said(what: str, wrong: list[str]) -> bool:
    """Prints a line; whether nothing was wrong."""
    print(f"{what}: {'; '.join(wrong) + ': WRONG' if wrong else 'ok'}", flush=True)
    return not wrong


def one_rounding_apart(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """A compiler may contract `scale*q + floor`, whose terms are below 64, or not."""
    return bool((np.abs(a.astype(np.float64) - b) <= 2.0**-18).all())


def base_files(here: Tool, windows: Tool) -> Iterator[bool]:
    """Both write the reference's log-probabilities, and what is not a measurement is the same, byte for byte."""
    for tool, name in ((here, "here.kld"), (windows, "windows.kld")):
        tool.good("-m", "ref.gguf", "-bf", "text.txt", "-c", N_CTX, "--save-all-logits", name)
    ours, theirs = (here.folder / "here.kld").read_bytes(), (windows.folder / "windows.kld").read_bytes()
    n_head = 20 + 4 * N_CTX * int(np.frombuffer(ours, "<i4", 1, 16)[0])  # magic, three numbers, the tokens
    wrong = []
    if len(ours) != len(theirs):
        wrong.append(f"{len(theirs)} bytes instead of {len(ours)}")
    if ours[:n_head] != theirs[:n_head]:
        wrong.append("other tokens")
    yield said(f"base file of {len(ours)} bytes", wrong)
    for tool in (here, windows):
        (tool.folder / "here.kld").write_bytes(ours)
        (tool.folder / "windows.kld").write_bytes(theirs)
        (tool.folder / "half.kld").write_bytes(ours[: len(ours) // 2])  # in the middle of a window


def records(here: Tool, windows: Tool, tolerance: Mapping[str, float]) -> Iterator[bool]:
    """Both compare a model with a base, one's own or the other's, and write the same file but for the kernels."""
    for model, base, out in (
        ("code", "here.kld", "records.npy"),
        (FOREIGN, "windows.kld", f"{FOREIGN}.npy"),
    ):
        arguments = ("-m", f"{model}.gguf", "-c", N_CTX, "--kl-divergence", "--kl-divergence-base", base)
        printed = [tool.good(*arguments, "--signed-deltas", out) for tool in (here, windows)]
        if not (windows.folder / out).exists():
            yield said(out, [f"not among {sorted(path.name for path in windows.folder.glob('*.npy'))}"])
            continue
        ours, theirs = ((tool.folder / out).read_bytes() for tool in (here, windows))
        a, b = (np.load(tool.folder / out) for tool in (here, windows))
        wrong = []
        n_head = len(ours) - a.nbytes
        if len(ours) != len(theirs) or ours[:n_head] != theirs[:n_head]:
            wrong.append(f"head {theirs[:n_head]!r} instead of {ours[:n_head]!r}, {len(theirs)} bytes")
        elif not all(np.array_equal(a[column], b[column]) for column in ("chunk", "pos", "token")):
            wrong.append("other tokens")
        elif not one_rounding_apart(a["logp_ref"], b["logp_ref"]):
            wrong.append("reads other log-probabilities from the base")
        yield said(f"{out} against {base}, {len(theirs)} bytes, of which {n_head} of head", wrong)
        yield said(f"{out}, statistics", wrong_statistics(printed[1], b))
        if len(a) == len(b):
            yield verdict(f"{out}, comparison", a["logp_cmp"], b["logp_cmp"], tolerance)


def wrong_statistics(text: str, found: NDArray[np.void]) -> list[str]:
    """What is wrong with the printed gain and loss, which are sums over the records."""
    gain, loss, n = _core.signed_sums(found["logp_ref"].copy(), found["logp_cmp"].copy())
    _, _, block = text.partition("====== Signed delta statistics ======\n")
    printed = dict(re.findall(r"^(Gain|Loss|Gain - loss|N) *: +(-?[\d.]+) ", block, re.M))
    expected = {"Gain": gain / n, "Loss": loss / n, "Gain - loss": (gain - loss) / n, "N": n}
    return [
        f"{name} is {printed.get(name)} instead of {value:g}"
        for name, value in expected.items()
        if name not in printed or abs(float(printed[name]) - value) > 1e-6
    ]


def short_inputs(here: Tool, windows: Tool, tolerance: Mapping[str, float]) -> Iterator[bool]:
    """A text of `n_ctx` tokens gets an estimate, and 15 scored tokens get statistics."""
    n = len(Model(demo.REFERENCE, vocab_only=True).tokenize(TEXT.read_bytes())) + 1  # with BOS
    arguments = ("-m", "ref.gguf", "-bf", "text.txt", "-c", n, "-b", n)
    nll = [
        float(found[1]) if (found := re.search(r"^ *\d+  [\d.]+  ([\d.]+) ", text, re.M)) else float("nan")
        for text in (tool.good(*arguments, "--ppl-output-type", 1) for tool in (here, windows))
    ]
    within = abs(nll[1] - nll[0]) <= tolerance["of the mean"]
    yield said(f"text of {n} tokens: {nll[1]:.6f} nats, here {nll[0]:.6f}", [] if within else ["too far apart"])

    windows.good("-m", "ref.gguf", "-bf", "text.txt", "-c", 32, "--chunks", 1, "--save-all-logits", "short.kld")
    arguments = ("-m", "code.gguf", "-c", 32, "--kl-divergence", "--kl-divergence-base", "short.kld")
    text = windows.good(*arguments, "--signed-deltas", "short.npy")
    found = np.load(windows.folder / "short.npy")
    wrong = [] if len(found) == 15 else [f"{len(found)} records"]
    yield said("statistics of 15 tokens", wrong + wrong_statistics(text, found))


def failures(here: Tool, windows: Tool) -> Iterator[bool]:
    """Each ends with 1, says why in one line as the tool here does, and leaves no records behind."""
    for name, arguments in FAILURES.items():
        said_here, said_there = ((ran.returncode, error_lines(ran.stderr)) for ran in
                                 (tool.run(*arguments) for tool in (here, windows)))  # fmt: skip
        wrong = []
        if said_here != said_there or said_there[0] != 1 or len(said_there[1]) != 1:
            wrong.append(f"status {said_there[0]} and {said_there[1]} instead of {said_here}")
        if (windows.folder / "r.npy").exists():
            wrong.append("leaves a file behind")
        yield said(f"{name} ({'; '.join(said_there[1])})", wrong)


def error_lines(stderr: str) -> list[str]:
    return re.findall(r"^(?:[\d.]+ E )?(error: .*)$", stderr, re.M)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, required=True, help="the staged llama.cpp")
    parser.add_argument("--work", type=Path, required=True, help="folder to build and run in")
    parser.add_argument("--portable", type=Path, help="folder of a package built with -DPPLDELTA_PORTABLE=ON")
    options = parser.parse_args()
    program = build(options.llama_cpp, options.work / "objects")
    if options.portable:
        tool, tolerance = with_the_same_kernels(options.portable, options.work / "here"), SAME_KERNELS
    else:
        tool, tolerance = Path(ppldelta.__file__).parent / "bin" / "llama-perplexity", OTHER_KERNELS
    here, windows = prepare(options.work, tool, program)
    good = [
        *base_files(here, windows),
        *records(here, windows, tolerance),
        *short_inputs(here, windows, tolerance),
        *failures(here, windows),
    ]
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
