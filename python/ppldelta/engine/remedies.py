"""Which build, or which setting, leaves out kernels that do not work."""

from __future__ import annotations

from ppldelta.engine.devices import Device
from ppldelta.engine.kernels import Kernel

OFF_WITHOUT_NATIVE = ("AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16")
ON_WITHOUT_NATIVE = ("AVX", "AVX2", "BMI2", "F16C", "FMA")
"""Features whose switch (`-DGGML_<name>=`) is off, or on, by default if GGML_NATIVE is off."""

_LAYOUTS = {"CPU_REPACK": "-DGGML_CPU_REPACK=OFF", "CPU_KLEIDIAI": "-DGGML_CPU_KLEIDIAI=OFF"}


def remedy(kernel: Kernel, on: Device) -> str:
    """The next step if a kernel crashes or is wrong.

    Args:
        kernel: which.
        on: its device.
    """
    if on.backend != "CPU":
        return (
            f"`-ngl 0` evaluates on the CPU; a newer driver of {on.name} may mend it, and a build without the switch "
            f"for {on.backend} in CMAKE_ARGS leaves {on.name} out"
        )
    if kernel.buffer_type in _LAYOUTS:
        return build_with(_LAYOUTS[kernel.buffer_type])
    if kernel.buffer_type == "AMX":
        return build_with("-DGGML_NATIVE=OFF", *_kept(on))
    return build_with("-DGGML_NATIVE=OFF") + "; if that fails too, add -DGGML_LLAMAFILE=OFF"


def without(missing: list[str]) -> str:
    """The next step if the build needs features that the CPU lacks."""
    return build_with("-DGGML_NATIVE=OFF", *(f"-DGGML_{name}=OFF" for name in missing if name in ON_WITHOUT_NATIVE))


def build_with(*switches: str) -> str:
    """The command that builds the package with these switches, in a clone of its repository."""
    return f'CMAKE_ARGS="{" ".join(switches)}" pip install .'


def _kept(device: Device) -> list[str]:
    """Switches that keep what this build has and a build without GGML_NATIVE would leave out."""
    features = {name for name, _ in device.features}
    return [f"-DGGML_{name}=ON" for name in OFF_WITHOUT_NATIVE if name in features]
