"""The line that names the kernels: of this machine, and of others as their backends would describe them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ppldelta import _core
from ppldelta.engine import devices, native
from ppldelta.engine.devices import Device, kernels_of
from ppldelta.run.plan import Settings

CPU = Device(
    name="CPU",
    description="Some(R) CPU",
    backend="CPU",
    gpu=False,
    memory_free=1,
    memory_total=2,
    buffer_types=("AMX", "CPU_REPACK", "CPU"),
    features=tuple((name, "1") for name in ("SSE3", "SSSE3", "AVX", "AVX2", "FMA", "AVX512", "AMX_INT8", "REPACK")),
)
GPU = Device("CUDA0", "NVIDIA H100 | 80GB", "CUDA", True, 1, 2, ("CUDA0",), (("USE_GRAPHS", "1"), ("ARCHS", "900")))


def test_the_cpu_s_features_without_its_brand_and_without_what_others_include() -> None:
    assert CPU.kernels == "CPU[AMX_INT8,AVX512,FMA,REPACK]"
    assert replace(CPU, description="Other", memory_free=5).kernels == CPU.kernels
    assert replace(CPU, features=CPU.features[::-1]).kernels == CPU.kernels
    assert replace(CPU, features=CPU.features[:5]).kernels == "CPU[AVX2,FMA]"
    assert replace(CPU, features=(("NEON", "1"), ("SVE_CNT", "32"))).kernels == "CPU[NEON,SVE_CNT=32]"


def test_amx_counts_where_this_process_may_use_it() -> None:
    assert replace(CPU, buffer_types=("CPU_REPACK", "CPU")).kernels == "CPU[AVX512,FMA,REPACK]"


def test_other_devices_by_description_features_and_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_NVIDIA_DRIVER", tmp_path / "version")
    assert GPU.kernels == "CUDA0[NVIDIA H100 / 80GB,ARCHS=900,USE_GRAPHS]"
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\nGCC 12.2.0"
    )
    assert GPU.kernels == "CUDA0[NVIDIA H100 / 80GB,ARCHS=900,USE_GRAPHS,driver 580.65.06]"
    assert replace(GPU, backend="Vulkan").kernels == "CUDA0[NVIDIA H100 / 80GB,ARCHS=900,USE_GRAPHS]"
    assert kernels_of((GPU, CPU)).startswith(f"{GPU.kernels}+{CPU.kernels}+softmax[")


def test_the_signature_names_them_and_another_process_says_the_same() -> None:
    here = native.build()
    assert here.kernels == kernels_of(devices.devices())
    signature = Settings("perplexity", 512, None, None, 128, 2).signature()
    assert signature["kernels"] == here.kernels
    code = "from ppldelta.engine import native; print(native.build().kernels)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == here.kernels


def test_every_device_says_what_it_has() -> None:
    for device, raw in zip(devices.devices(), _core.devices(), strict=True):
        assert device.name == raw["name"]
        assert device.buffer_types
        assert 0 <= device.memory_free <= device.memory_total
        assert "|" not in device.kernels
