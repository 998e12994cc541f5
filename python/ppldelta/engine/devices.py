"""What this process computes with: its devices, and one line that names their kernels.

Kernels for other instructions add up the same products in another order and round otherwise, so the line is a part of
what determines a model's numbers. It leaves out what does not move the numbers, such as the CPU's brand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppldelta import _core

_INCLUDED = {"AVX512": ("AVX2", "AVX", "SSSE3", "SSE3"), "AVX2": ("AVX", "SSSE3", "SSE3"), "AVX": ("SSSE3", "SSE3")}
"""Instruction sets that the named one includes on every CPU; they would only make the line longer."""

_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Device:
    """A device that a backend of this build finds on this machine.

    Attributes:
        name: such as "CPU" or "CUDA0".
        description: such as "AMD EPYC" or "NVIDIA H200".
        backend: such as "CPU" or "CUDA".
        gpu: whether it is a GPU; devices of RPC servers count as such.
        memory_free: bytes; 0 if the backend cannot say.
        memory_total: the same.
        buffer_types: where weights may lie, the preferred first: those before the last lay them out for faster kernels.
        features: name and value of each feature of its kernels, as the backend names them.
    """

    name: str
    description: str
    backend: str
    gpu: bool
    memory_free: int
    memory_total: int
    buffer_types: tuple[str, ...]
    features: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Device:
        """A device from what `_core.devices` says of it."""
        features = tuple((name, value) for name, value in fields["features"])
        return cls(**{**fields, "buffer_types": tuple(fields["buffer_types"]), "features": features})

    @property
    def kernels(self) -> str:
        """Its name, and in brackets what determines how it rounds."""
        if self.backend == "CPU":
            parts = self.cpu_features()
        else:
            parts = [self.description, *sorted(_shown(*feature) for feature in self.features)]
            if self.backend == "CUDA" and (driver := _nvidia_driver()):
                parts.append(f"driver {driver}")
        return f"{self.name}[{','.join(parts)}]".replace("|", "/")

    def cpu_features(self) -> list[str]:
        """What its kernels are built for, in alphabetical order, without what others of them include."""
        names = {_shown(*feature) for feature in self.features}
        if "AMX" not in self.buffer_types:  # built in, but this process may not use the tiles
            names.discard("AMX_INT8")
        return sorted(names.difference(*(included for name, included in _INCLUDED.items() if name in names)))


@functools.cache
def devices() -> tuple[Device, ...]:
    """The devices of this process. Their free memory is that of the first call, whose answer is kept."""
    return tuple(map(Device.of, _core.devices()))


def has_gpu() -> bool:
    """Whether there is a device that layers of a model can be put on."""
    return any(device.gpu for device in devices())


def kernels_of(some: tuple[Device, ...]) -> str:
    """One line without `|` that is equal if the same kernels compute."""
    softmax = "softmax[FMA]" if _core.softmax_fuses() else "softmax[]"
    return "+".join([*(device.kernels for device in some), softmax])


def _shown(name: str, value: str) -> str:
    return name if value == "1" else f"{name}={value}"


def _nvidia_driver() -> str | None:
    """The version of NVIDIA's kernel module, if it says one (Linux)."""
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", _NVIDIA_DRIVER.read_text())
    except OSError:
        return None
    return found[0] if found else None
