"""`ppldelta doctor`: what it shows here, what it says of a broken build, and that a user can act on it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

import ppldelta
from helpers.broken_kernels import FIRST, break_in_child
from ppldelta import cli
from ppldelta.commands import doctor
from ppldelta.engine import cpu, isolated, kernels, native, remedies
from ppldelta.engine.kernels import Kernel, Product
from ppldelta.store.store import Store
from test_devices import CPU, GPU

CHECK = {"type", "device", "buffer_type", "outcome"}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few types, for what all do alike."""
    monkeypatch.setattr(kernels, "types", lambda: ["F32", "Q5_1", "Q8_0"])


@pytest.fixture(scope="module")
def healthy() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ppldelta.cli", "doctor", "--json"], capture_output=True, text=True, timeout=300
    )


def test_this_build_is_well(healthy: subprocess.CompletedProcess[str]) -> None:
    assert healthy.returncode == 0, healthy.stderr
    assert all(line.startswith("multiplying") for line in healthy.stderr.splitlines()), "how far it is, where it lasts"
    found = json.loads(healthy.stdout)
    assert (found["format"], found["ok"], found["problems"]) == (1, True, [])
    assert found["release"] == native.release()
    assert found["kernels"] == native.build().kernels
    assert found["patches"] == [path.stem for path in patches_in_order()]
    assert found["compiler"].split()[0] in ("GNU", "Clang", "AppleClang")
    assert {check["type"] for check in found["checks"]} == set(kernels.types())
    assert all(set(check) >= CHECK and check["outcome"] == "right" for check in found["checks"])
    assert found["cpu"]["features_missing"] == []
    for device in found["devices"]:
        assert device["memory_free"] <= device["memory_total"]


def patches_in_order() -> list[Path]:
    folder = Path(__file__).resolve().parents[1] / "patches"
    return [folder / line for line in (folder / "series").read_text().split()]


def test_text_for_people(few: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.sqlite"
    with Store(path):
        pass
    assert cli.main(["doctor", "--store", str(path)]) == 0
    shown = capsys.readouterr().out
    for part in (native.release(), cpu.name(), "GB free", str(path), "kB", "all multiplied right."):
        assert part in shown
    lines = shown.splitlines()
    (head,) = (line for line in lines if line.startswith("type "))
    assert head.split()[1:] == [each for device in isolated.find_devices() for each in device.buffer_types]
    assert [line.split()[0] for line in lines if line.split()[-1:] == ["right"]] == kernels.types()


def test_no_store_is_made(few: None, tmp_path: Path) -> None:
    found = doctor.examine(tmp_path / "none.sqlite")
    assert found.store_bytes is None
    assert not (tmp_path / "none.sqlite").exists()
    assert "not there yet" in str(found)


def test_where_models_of_the_hub_are_kept(few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path))
    found = doctor.examine(tmp_path / "store.sqlite")
    assert found.as_json()["hub"] == {"version": metadata.version("huggingface_hub"), "cache": str(tmp_path)}
    assert f"huggingface_hub {found.hub}, models are kept in {tmp_path}" in str(found)
    assert "not there (pip install 'ppldelta[hub]')" in str(replace(found, hub=None))


def test_a_crash(few: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    break_in_child(monkeypatch, "crash('Q5_1', 'SIGILL')")
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "Q5_1 on CPU ends the process (SIGILL): last words." in shown
    assert 'hint: CMAKE_ARGS="-DGGML_NATIVE=OFF" pip install .' in shown
    assert "CRASH (SIGILL)" in shown
    assert "all multiplied right" not in shown
    assert cli.main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    (crash,) = (check for check in found["checks"] if check["outcome"] != "right")
    assert crash == {
        **{"type": "Q5_1", "device": "CPU", "buffer_type": FIRST},
        **{"outcome": "crash", "cause": "SIGILL", "said": "last words"},
    }


def test_a_wrong_product(few: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    break_in_child(monkeypatch, "double('Q5_1')")
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "Q5_1 on CPU is multiplied wrongly: the error is " in shown
    assert "times what rounding explains.\nhint: CMAKE_ARGS" in shown
    assert shown.count("WRONG") == 1


def test_backends_that_end_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    break_in_child(monkeypatch, "unstartable()")
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "The backends end the process when they start (SIGILL)." in shown
    assert 'CMAKE_ARGS="-DGGML_NATIVE=OFF" pip install .' in shown
    assert cpu.name() in shown


def test_a_slow_type_is_noted_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "types", lambda: ["BF16", "F32"])
    products = [Product(Kernel("BF16", "CPU", "CPU"), 1.0, 3.0, 61.3), Product(Kernel("F32", "CPU", "CPU"), 1, 3, 1)]
    found = replace(doctor.examine(), products=products, crashes=[], problems=[])
    (line,) = (line for line in str(found).splitlines() if line.startswith("BF16"))
    assert line.endswith("right, 61 × slower than F32")
    assert [check["slow"] for check in found.as_json()["checks"]] == [True, False]


def test_features_that_the_cpu_lacks_or_that_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Old(R) CPU\nflags\t\t: pni avx avx2 fma avx_vnni\n"
    )
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    assert cpu.name() == "Old(R) CPU"
    assert cpu.missing(["SSE3", "AVX2", "AVX512", "AMX_INT8", "OPENMP"]) == ["AMX_INT8", "AVX512"]
    assert cpu.unused(["SSE3", "AVX", "AVX2"]) == ["AVX_VNNI", "FMA"]
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "none")
    assert (cpu.missing(["AVX2"]), cpu.unused([])) == ([], []), "nothing is claimed where nothing is known"


def test_a_build_for_another_cpu_says_how_to_build_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("model name: Old(R) CPU\nflags: pni ssse3 avx f16c asimd\n")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(isolated, "find_devices", lambda: (CPU,))
    monkeypatch.setattr(isolated, "check", lambda types, on_type: ([], []))
    found = doctor.examine()
    assert found.missing == ["AMX_INT8", "AVX2", "AVX512", "FMA"]
    (problem,) = found.problems
    assert problem.message == "The build needs what this CPU lacks: AMX_INT8, AVX2, AVX512, FMA."
    assert problem.hint == 'CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=OFF -DGGML_FMA=OFF" pip install .'


def test_remedies_leave_out_what_is_broken_and_keep_the_rest() -> None:
    some = replace(CPU, features=(*CPU.features, ("AVX512_VNNI", "1")))
    assert remedies.remedy(Kernel("Q4_K", "CPU", "AMX"), some) == (
        'CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON" pip install .'
    )
    assert "-DGGML_CPU_REPACK=OFF" in remedies.remedy(Kernel("Q4_K", "CPU", "CPU_REPACK"), CPU)
    assert "-DGGML_NATIVE=OFF" in remedies.remedy(Kernel("Q4_K", "CPU", "CPU"), CPU)
    assert "`-ngl 0`" in remedies.remedy(Kernel("Q4_K", "CUDA0", "CUDA0"), GPU)


def test_a_process_that_multiplies_loads_nothing_else() -> None:
    """There is one for each type, so that its start is most of what the doctor takes."""
    code = "from ppldelta.engine import isolated; import sys; print(*sys.modules)"
    names = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60).split()
    assert not {"polars", "plotly", "loky", "sqlite3"} & set(names)


def test_doctor_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "doctor" in capsys.readouterr().out
    assert ppldelta.__version__ in native.release()


def test_an_interrupt_ends_the_check_of_all_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when the last type is done, which on a machine with a slow kernel may be minutes later."""
    started: list[str] = []
    run = isolated._run

    def counted(call: str, given: tuple[str, list[dict[str, str]]], on_start: Callable[..., object]) -> object:
        started.append(given[0])
        return run(call, given, on_start)

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(isolated, "_run", counted)
    types = kernels.types()
    with pytest.raises(KeyboardInterrupt):
        isolated.check(types, interrupt)
    assert 1 <= len(started) < len(types) // 2
    assert len(set(started)) == len(started), "what was ended on purpose is not taken for a crash and tried again"
