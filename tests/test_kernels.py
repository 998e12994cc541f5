"""The check of the kernels: right ones pass closely, broken ones are seen, whatever ends a process is named."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from helpers import tiny_models
from helpers.broken_kernels import FIRST, break_in_child
from ppldelta import _core
from ppldelta.engine import isolated, kernels
from ppldelta.engine.devices import devices
from ppldelta.engine.kernels import N_COLUMNS, N_ROWS, N_VECTORS, Kernel, Product

TYPES = kernels.types()
NAMES = {name.upper(): name for name, *_ in _core.tensor_types()}
GGUF_READS = [type for type in TYPES if type in gguf.GGMLQuantizationType.__members__]


def weights_of(type: str) -> np.ndarray:
    return _core.dequantize(NAMES[type], kernels.sample_weights(NAMES[type]), N_ROWS, N_COLUMNS)


def vectors() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((max(N_VECTORS), N_COLUMNS), np.float32)


@pytest.mark.parametrize("type", TYPES)
def test_every_kernel_of_this_machine_multiplies_right(type: str) -> None:
    products = list(kernels.multiply(type, devices()))
    assert FIRST in [product.kernel.buffer_type for product in products]
    for product in products:
        assert product.right, product
        assert product.slowness > 0
    quick = list(kernels.multiply(type, devices(), quick=True))
    assert [(each.kernel, each.rms, each.worst) for each in quick] == [
        (each.kernel, each.rms, each.worst) for each in products
    ], "the number of threads moves nothing"


@pytest.mark.parametrize("type", TYPES)
def test_rounding_explains_the_error_and_not_much_more(type: str) -> None:
    """The deviation that is expected is that of the plain kernels: the limit of 2 is not far above what they reach."""
    (product,) = [each for each in kernels.multiply(type, devices()) if each.kernel.buffer_type == FIRST]
    least = {"F32": 0.01, "F16": 0.05}.get(type, 0.6)  # F32 adds up in many lanes, F16 has three bits more than BF16
    assert least < product.rms < 1.3
    assert product.worst < 5


@pytest.mark.parametrize("block", [32, 256])
def test_the_deviation_is_that_of_activations_in_8_bits(block: int) -> None:
    """Against a few lines of NumPy that round activations as `Q8_0` and `Q8_K` do."""
    x, weights = vectors(), weights_of("Q4_K").astype(np.float64)
    blocks = x.astype(np.float64).reshape(len(x), -1, block)
    scale = np.abs(blocks).max(axis=2, keepdims=True) / 127
    rounded = (np.rint(blocks / scale) * scale).reshape(x.shape)
    deviation = kernels.expected_deviation("Q4_K", weights, x, gpu=False)
    rms, worst = kernels.errors((rounded @ weights.T).astype(np.float32), x @ weights.T, deviation)
    assert 0.7 < rms < 1.1
    assert worst < 5


BROKEN = {
    "one in fifty weights has the wrong sign": lambda values, weights, x: values - 2 * x @ flipped(weights).T,
    "a scale is three per cent off": lambda values, weights, x: values * 1.03,
    "the last row is that before it": lambda values, weights, x: np.concatenate(
        [values[:, :-1], values[:, -2:-1]], axis=1
    ),
    "its largest element is 0": lambda values, weights, x: with_largest(values, 0),
    "one element is NaN": lambda values, weights, x: with_largest(values, np.nan),
    "all are infinite": lambda values, weights, x: values + np.inf,
    "the last block is left out": lambda values, weights, x: values - x[:, -32:] @ weights[:, -32:].T,
}  # fmt: skip


def with_largest(values: np.ndarray, value: float) -> np.ndarray:
    """The same with another largest element."""
    return np.where(np.abs(values) == np.abs(values).max(), value, values)


def flipped(weights: np.ndarray) -> np.ndarray:
    """Every fiftieth weight, 0 elsewhere."""
    return np.where(np.arange(weights.size).reshape(weights.shape) % 50 == 3, weights, 0)


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("type", TYPES)
def test_a_kernel_that_is_a_little_off_is_wrong(type: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_of(type)

    def broken(
        device: str, buffer_type: str, name: str, packed: np.ndarray, x: np.ndarray, *rest: int
    ) -> tuple[np.ndarray, float] | None:
        ran = multiply(device, buffer_type, name, packed, x, *rest)
        if ran is None or name.upper() != type or buffer_type != FIRST:
            return ran
        return BROKEN[how](ran[0], weights, x).astype(np.float32), ran[1]

    multiply = _core.multiply
    monkeypatch.setattr(kernels._core, "multiply", broken)
    products = list(kernels.multiply(type, devices(), quick=True))
    assert [each.kernel.buffer_type for each in products if not each.right] == [FIRST]


@pytest.mark.parametrize("type", GGUF_READS)
def test_weights_are_what_gguf_py_reads(type: str) -> None:
    """What the products are compared with does not come from ggml alone; indices made at random are valid ones."""
    weights = weights_of(type)
    assert np.isfinite(weights).all()
    assert len(np.unique(weights)) > 1
    packed = kernels.sample_weights(NAMES[type]).reshape(N_ROWS, -1)
    try:
        theirs = gguf.dequantize(packed, gguf.GGMLQuantizationType[type])
    except NotImplementedError:
        pytest.skip(f"gguf-py cannot read {type}")
    assert np.array_equal(theirs.reshape(weights.shape), weights) or theirs == pytest.approx(weights, rel=1e-6)


def test_a_gpu_may_round_more() -> None:
    x, weights = vectors(), weights_of("Q4_K").astype(np.float64)
    for type in TYPES:
        cpu, gpu = (kernels.expected_deviation(type, weights, x, gpu=gpu) for gpu in (False, True))
        assert (gpu > cpu).all()


def test_the_tensors_of_a_file_are_where_the_extension_says(tmp_path: Path) -> None:
    path = tmp_path / "mixed.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("norm", np.ones(64, np.float16))
    writer.add_tensor("matrix", np.ones((2, 64), np.float32))
    writer.add_tensor("quantised", _core.quantize("q8_0", np.ones((4, 64), np.float32)).reshape(4, -1),
                      raw_dtype=gguf.GGMLQuantizationType.Q8_0)  # fmt: skip
    tiny_models.save(writer)
    assert [place[:5] for place in _core.tensors_in(str(path).encode())] == [
        ("norm", "f16", 1, 64, "64"),
        ("matrix", "f32", 2, 64, "64x2"),
        ("quantised", "q8_0", 4, 64, "64x4"),
    ]
    path.write_bytes(b"nonsense")
    with pytest.raises(RuntimeError, match="not a GGUF"):
        _core.tensors_in(str(path).encode())


# --- in processes of their own --------------------------------------------------------------------------------------


def test_processes_find_what_this_one_finds() -> None:
    products, crashes = isolated.check(["Q8_0", "Q2_K"])
    assert crashes == []
    here = [product for type in ("Q8_0", "Q2_K") for product in kernels.multiply(type, devices())]
    assert [(each.kernel, each.rms) for each in products] == [(each.kernel, each.rms) for each in here]


@pytest.mark.parametrize("how", ["SIGILL", "SIGSEGV", "SIGABRT"])
def test_a_crash_is_named_and_the_other_kernels_are_checked(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_in_child(monkeypatch, f"crash('Q8_0', '{how}')")
    products, (crash,) = isolated.check(["Q8_0", "Q4_0"])
    assert crash == isolated.Crash(Kernel("Q8_0", "CPU", FIRST), how, "last words")
    expected = {each.kernel for type in ("Q8_0", "Q4_0") for each in kernels.multiply(type, devices())}
    assert {each.kernel for each in products} == expected - {crash.kernel}


def test_a_kernel_that_never_returns_is_one_that_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    break_in_child(monkeypatch, "crash('Q8_0', 'hang')")
    monkeypatch.setattr(isolated, "TIMEOUT_S", 5.0)
    _, (crash,) = isolated.check(["Q8_0"])
    assert crash.cause == "TIMEOUT"


def test_backends_that_cannot_start_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    break_in_child(monkeypatch, "unstartable()")
    with pytest.raises(isolated.Ended) as caught:
        isolated.find_devices()
    assert caught.value.cause == "SIGILL"
    with pytest.raises(isolated.Ended):
        isolated.check(["Q8_0"])


def test_a_folder_s_own_modules_are_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert [device.name for device in isolated.find_devices()] == [device.name for device in devices()]


def test_a_slow_kernel_is_right_and_said_to_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = _core.multiply

    def slow(device: str, buffer_type: str, name: str, *rest: object) -> tuple[np.ndarray, float] | None:
        ran = multiply(device, buffer_type, name, *rest)
        return ran and (ran[0], ran[1] * (1000 if name == "bf16" else 1))

    monkeypatch.setattr(kernels._core, "multiply", slow)
    (product,) = kernels.multiply("BF16", devices())
    assert product.right
    assert product.slowness > kernels.SLOW


def test_limits() -> None:
    kernel = Kernel("Q8_0", "CPU", "CPU")
    assert Product(kernel, 1.0, 4.0, None).right
    for rms, worst in ((2.1, 4.0), (1.0, 8.1), (float("nan"), 1.0), (1.0, float("nan"))):
        assert not Product(kernel, rms, worst, None).right


def test_the_plain_kernel_is_that_of_the_device() -> None:
    assert str(Kernel("Q4_K", "CPU", "AMX")) == "Q4_K on CPU, weights in AMX"
    assert str(Kernel("Q4_K", "CPU", "CPU")) == "Q4_K on CPU"
