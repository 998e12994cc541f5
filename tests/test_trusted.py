"""The check of the kernels that nobody calls: of which types, how often, and what follows."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import gguf
import numpy as np
import pytest

import ppldelta
from helpers import tiny_models
from helpers.broken_kernels import crash_in_worker, on
from ppldelta import _core, demo
from ppldelta.engine import kernels, native, trusted
from ppldelta.engine.devices import devices
from ppldelta.engine.loaded import PinnedSource
from ppldelta.engine.session import Session
from ppldelta.models.source import ModelSource
from ppldelta.store.database import SCHEMA
from ppldelta.store.pruning import prune
from ppldelta.store.store import Store

Q8_0, Q2_K = demo.COMPARISONS[0], demo.COMPARISONS[2]
TEXT = (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()
QUIET = {"ref": demo.REFERENCE, "progress": False}
NAMES = {name.upper(): name for name, *_ in _core.tensor_types()}
(LINE,) = (device.kernels for device in devices() if device.name == "CPU")


@pytest.fixture(autouse=True)
def _nothing_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted, "_here", set())


@pytest.fixture
def multiplied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Types that this process multiplies in checks from now on, in their order."""
    seen: list[str] = []
    multiply = kernels.multiply

    def spied(type: str, *arguments: object, **options: object) -> object:
        seen.append(type)
        return multiply(type, *arguments, **options)

    monkeypatch.setattr(kernels, "multiply", spied)
    return seen


@pytest.fixture
def here() -> Iterator[ThreadPoolExecutor]:
    """Runs workers' tasks in this process, where they can be watched."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def check(path: Path, known: frozenset[trusted.Trust] = frozenset()) -> set[str]:
    found = trusted.check(PinnedSource.of(ModelSource(path), 0), False, known)
    assert {line for line, _ in found} <= {LINE}
    return {type for _, type in found}


def test_only_types_of_the_model_and_each_once(multiplied: list[str]) -> None:
    assert check(Q8_0) == {"Q8_0"}
    assert check(Q8_0) == {"Q8_0"}
    assert multiplied == ["Q8_0"]
    types = check(Q2_K)
    assert "Q2_K" in types
    assert sorted(multiplied) == sorted(types)


def test_what_is_known_is_not_checked(multiplied: list[str]) -> None:
    assert check(Q8_0, frozenset({(LINE, "Q8_0")})) == set()
    assert multiplied == []
    assert check(Q8_0, frozenset({("CPU[AVX2]", "Q8_0")})) == {"Q8_0"}, "of other kernels"


def test_the_store_remembers(here: ThreadPoolExecutor, multiplied: list[str], tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    first = ppldelta.score({"a": TEXT}, cmp=Q8_0, store=path, executor=here, **QUIET)
    assert multiplied == ["Q8_0"]
    with Store(path) as store:
        assert store.notes.trusted(native.release()) == {(LINE, "Q8_0")}
        assert store.notes.trusted("another release") == set()
    trusted._here.clear()  # as in a new process
    ppldelta.score({"b": TEXT * 2}, cmp=Q8_0, store=path, executor=here, **QUIET)
    assert multiplied == ["Q8_0"]
    with Store(path) as store:
        prune(store, everything=True)
        assert store.notes.trusted(native.release()) == set()
    again = ppldelta.score({"a": TEXT}, cmp=Q8_0, store=path, executor=here, **QUIET)
    assert multiplied == ["Q8_0", "Q8_0"]
    assert again.tokens.equals(first.tokens)


def test_without_a_store_once_for_each_process(here: ThreadPoolExecutor, multiplied: list[str]) -> None:
    for _ in range(2):
        ppldelta.score({"a": TEXT}, cmp=Q8_0, store=None, executor=here, **QUIET)
    assert multiplied == ["Q8_0"]


def test_what_is_in_the_store_needs_no_check(here: ThreadPoolExecutor, multiplied: list[str], tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    ppldelta.score({"a": TEXT}, cmp=Q8_0, store=path, executor=here, **QUIET)
    multiplied.clear()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM trusted")
        connection.commit()
    trusted._here.clear()
    ppldelta.score({"a": TEXT}, cmp=Q8_0, store=path, executor=here, **QUIET)
    assert multiplied == []


def test_a_wrong_kernel_ends_the_run_of_those_models_that_need_it(
    here: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "store.sqlite"
    broken = on("Q2_K", lambda values: np.multiply(values, 2, out=values))
    monkeypatch.setattr(kernels._core, "multiply", broken)
    result = ppldelta.score({"a": TEXT}, cmp=[Q8_0, Q2_K], store=path, executor=here, **QUIET)
    assert result.models["model"].unique().to_list() == ["tiny-code.Q8_0"]
    (warning,) = result.warnings
    for part in (
        "Q2_K on CPU",
        "times what rounding explains",
        "run `ppldelta doctor`",
        "-DGGML_NATIVE=OFF",
        "left out",
    ):
        assert part in warning
    with Store(path) as store:
        assert "Q2_K" not in {type for _, type in store.notes.trusted(native.release())}
    with pytest.raises(
        ppldelta.ModelError, match="this build multiplies wrongly on this machine: Q2_K on CPU is off by up to"
    ):
        ppldelta.score({"a": TEXT}, cmp=Q2_K, store=path, executor=here, **QUIET)
    monkeypatch.undo()
    monkeypatch.setenv("PPLDELTA_STORE", str(path))
    assert ppldelta.score({"a": TEXT}, cmp=Q2_K, executor=here, **QUIET).warnings == [], "what is wrong is tried again"


def test_a_kernel_that_crashes_is_the_death_of_the_worker(fresh: None) -> None:
    with Session() as session:
        session.call(crash_in_worker, "Q2_K", "SIGILL", label="", doing="")
    result = ppldelta.score({"a": TEXT}, cmp=[Q2_K, Q8_0], **QUIET)
    assert result.models["model"].unique().to_list() == ["tiny-code.Q8_0"]
    (warning,) = result.warnings
    for part in ("was ended by SIGILL", "last words", "`ppldelta doctor` checks them"):
        assert part in warning


def test_a_usual_model_costs_hundredths_of_a_second(tmp_path: Path) -> None:
    """CPU time in a process like a worker's; the budget is 0.3 s."""
    path = tmp_path / "mixed.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list([f"token {i}" for i in range(50_000)])
    for type in ("F16", "Q4_K", "Q5_0", "Q6_K", "Q8_0"):
        data = _core.quantize(NAMES[type], np.ones((2, 256), np.float32)).reshape(2, -1)
        writer.add_tensor(type, data, raw_dtype=gguf.GGMLQuantizationType[type])
    tiny_models.save(writer)
    code = f"""
import time
from pathlib import Path
from ppldelta.engine import native, trusted
from ppldelta.engine.loaded import PinnedSource
from ppldelta.models.source import ModelSource
native.build()
file = PinnedSource.of(ModelSource(Path({str(path)!r})), 0)
started = time.process_time()
found = trusted.check(file, False, frozenset())
print(len(found), time.process_time() - started)
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    n_types, time_s = ran.stdout.split()
    assert n_types == "5"
    assert float(time_s) < 0.3


def test_a_store_of_the_third_version_keeps_its_windows(tmp_path: Path, here: ThreadPoolExecutor) -> None:
    path = tmp_path / "store.sqlite"
    first = ppldelta.score({"a": TEXT}, cmp=Q8_0, store=path, executor=here, **QUIET)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE trusted")
        connection.execute("PRAGMA user_version = 3")
        rows = connection.execute("SELECT * FROM shards").fetchall()
        connection.commit()
    assert rows
    again = ppldelta.score({"a": TEXT}, cmp=Q8_0, store=path, executor=here, **QUIET)
    assert again.tokens.equals(first.tokens)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM shards").fetchall() == rows
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert connection.execute("SELECT count(*) FROM trusted").fetchone() == (0,)


# --- models of several types on this machine's kernels ---------------------------------------------------------------


def converted(source: Path, path: Path, type: str) -> Path:
    """A copy of a model with all its matrices in another type, quantised with ggml, or as what they stand for (F32)."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], kind)
    for tensor in reader.tensors:
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, np.array(tensor.data))
            continue
        n_columns, n_rows = map(int, tensor.shape)
        packed = np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1)
        values = _core.dequantize(NAMES[tensor.tensor_type.name], packed, n_rows, n_columns)
        if type == "F32":
            writer.add_tensor(tensor.name, values)
        else:
            data = _core.quantize(NAMES[type], values).reshape(n_rows, -1)
            writer.add_tensor(tensor.name, data, raw_dtype=gguf.GGMLQuantizationType[type])
    tiny_models.save(writer)
    return path


@pytest.mark.parametrize("type", ["Q8_0", "Q4_K", "Q2_K"])
def test_models_compute_what_their_weights_say(type: str, tmp_path: Path) -> None:
    """A quantised model against the same weights as F32: only the activations are rounded, to 8 bits.

    On a CPU with AMX the first two are multiplied there, the third with repacked weights.
    """
    quantised = converted(demo.REFERENCE, tmp_path / f"{type}.gguf", type)
    plain = converted(quantised, tmp_path / "plain.gguf", "F32")
    result = ppldelta.score(
        {"a": TEXT}, plain, quantised, windows="every", n_ctx=256, store=None, progress=False
    )  # fmt: skip
    delta = result.tokens["delta"]
    # 2026-11-24: 0.013 with Q8_0, 0.021 with Q4_K, 0.023 with Q2_K; quantising the weights to Q2_K moves 0.66
    assert 0 < delta.abs().mean() < 0.05
    assert abs(delta.mean()) < 0.01
    assert delta.abs().max() < 0.5
    assert result.tokens["logp_ref"].mean() > np.log(1 / 1000), "the model predicts"
