"""The processor of this machine: its name, and those of its features that ggml has kernels for (Linux)."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")

FLAGS = {
    "SSE3": "pni",
    "SSSE3": "ssse3",
    "AVX": "avx",
    "AVX2": "avx2",
    "AVX_VNNI": "avx_vnni",
    "F16C": "f16c",
    "FMA": "fma",
    "BMI2": "bmi2",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8",
    "NEON": "asimd",
    "FP16_VA": "asimdhp",
    "DOTPROD": "asimddp",
    "MATMUL_INT8": "i8mm",
    "SVE": "sve",
    "SME": "sme",
    "SME2": "sme2",
}
"""ggml's names of CPU features, and how Linux names them."""


def name() -> str:
    """The processor's brand, as far as the system says it."""
    return _field("model name") or _field("Model") or platform.processor() or platform.machine()


def missing(features: Iterable[str]) -> list[str]:
    """Which of the features that a build uses this CPU lacks, as far as the system says."""
    flags = _flags()
    return sorted(each for each in features if flags and each in FLAGS and FLAGS[each] not in flags)


def unused(features: Iterable[str]) -> list[str]:
    """Which features this CPU has that ggml could use and a build does not."""
    flags = _flags()
    return sorted(each for each, flag in FLAGS.items() if flag in flags and each not in set(features))


def memory_available() -> int | None:
    """Bytes that a process could have, as far as the system says."""
    for line in _lines(_MEMINFO):
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return None


def _flags() -> set[str]:
    return set((_field("flags") or _field("Features")).split())


def _field(label: str) -> str:
    """What the system says of the first processor under a label; empty if it says nothing."""
    for line in _lines(_CPUINFO):
        key, _, value = line.partition(":")
        if key.strip() == label:
            return value.strip()
    return ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
