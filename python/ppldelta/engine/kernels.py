"""Whether this build multiplies right on this machine: small products of each tensor type, against float64.

Weights of a type, made from a seed, times random activations: one vector, and a batch of them, which other kernels
compute; on each device and in each kind of buffer where llama.cpp would put such weights. What should come out is known
up to rounding. Each activation x is rounded by at most u:

- Quantised types: to 8 bits, in blocks of at most 256 that share a scale, so that u = max|x| / 254 of its block.
- BF16: u = |x| / 256. F16 has three more bits, but some CPUs also add up in F16, so that it is granted the same.
- F32: not at all; adding up n products in float32 moves the sum by no more than u = |x| √n / 2^24 would.
- On GPUs floats may be rounded to TF32 and sums to F16: u is |x| / 256 larger. Some multiply 4-bit floats by 4-bit
  activations, with u = max|x| / 12.

Rounding errors are as good as uniform in ±u and independent, so that the error of element i has standard deviation

    s_i = √(Σ_k (w_ik u_k)² / 3)

A product is wrong where the root mean square of error / s is above `RMS_LIMIT`, or one element's above `WORST_LIMIT`.
Right kernels come to 0.6 … 1.1 (F16 and F32 to less) and to at most 4, and tests hold them below 1.3 and 5; 8 standard
deviations do not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta import _core
from ppldelta.engine.devices import Device

N_ROWS, N_COLUMNS = 64, 512  # multiples of what every kernel wants; smaller or odder weights go to the plain ones
N_VECTORS = (1, 33)  # 33: whole tiles and one vector beside them
N_THREADS = 2
RMS_LIMIT, WORST_LIMIT = 2.0, 8.0
SLOW = 16.0
"""A product that takes this many times as long as F32's is said to be slow: usually it is emulated."""

_REPEATS = 3
_REPEATS_TO_BE_SURE = 20
_BLOCK = 256

_SCALE_FIRST = {"iq1_s", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s"}
"""Types whose blocks are an F16 scale and then indices, any of which are valid: their tables for quantising take
seconds to make, and random indices use more of the codebook than quantised weights do."""


@dataclass(frozen=True)
class Kernel:
    """Where weights of a type lie; that decides which code multiplies them.

    Attributes:
        type: of the weights, as GGUF names it, such as "Q4_K".
        device: such as "CPU".
        buffer_type: such as "CPU", or "AMX" and "CPU_REPACK", where weights are laid out anew.
    """

    type: str
    device: str
    buffer_type: str

    def __str__(self) -> str:
        where = self.device if self.buffer_type == self.device else f"{self.device}, weights in {self.buffer_type}"
        return f"{self.type} on {where}"


@dataclass(frozen=True)
class Product:
    """What came of the products with one kind of weights, the worst over one vector and a batch.

    Attributes:
        kernel: what computed them.
        rms: root mean square of the error, in standard deviations of what rounding explains; NaN if not finite.
        worst: of any element, the same.
        slowness: time for the batch, in times of F32 on the same device; None if it is not known.
    """

    kernel: Kernel
    rms: float
    worst: float
    slowness: float | None

    @property
    def right(self) -> bool:
        """Whether rounding explains the error."""
        return self.rms <= RMS_LIMIT and self.worst <= WORST_LIMIT


def types() -> list[str]:
    """The tensor types that models may hold, as GGUF names them."""
    return [name.upper() for name, *_ in _core.tensor_types()]


def multiply(
    type: str,
    on: Iterable[Device],
    *,
    quick: bool = False,
    skip: Set[Kernel] = frozenset(),
    about_to: Callable[[Kernel], object] = lambda kernel: None,
) -> Iterator[Product]:
    """Products of weights of a type on each device and in each kind of buffer that llama.cpp would use.

    Args:
        type: of the weights, one of `types()`.
        on: the devices.
        quick: whether to use one thread, which waits for no other, and to leave out how slow they are.
        skip: what is left out.
        about_to: called before each kernel is tried, which may end the process.
    """
    name = next(name for name, *_ in _core.tensor_types() if name.upper() == type)
    weights = sample_weights(name)
    exact = _core.dequantize(name, weights, N_ROWS, N_COLUMNS).astype(np.float64)
    vectors = np.random.default_rng(1).standard_normal((max(N_VECTORS), N_COLUMNS), np.float32)
    for device in on:
        for buffer_type in device.buffer_types:
            kernel = Kernel(type, device.name, buffer_type)
            if kernel in skip:
                continue
            about_to(kernel)
            if product := _product(kernel, name, device, weights, exact, vectors, quick):
                yield product


def _product(
    kernel: Kernel,
    name: str,
    device: Device,
    weights: NDArray[np.uint8],
    exact: NDArray[np.float64],
    vectors: NDArray[np.float32],
    quick: bool,
) -> Product | None:
    """None if llama.cpp would not put such weights there."""

    def run(x: NDArray[np.float32], n_repeats: int) -> tuple[NDArray[np.float32], float] | None:
        return _core.multiply(
            kernel.device, kernel.buffer_type, name, weights, x, N_ROWS, 1 if quick else N_THREADS, n_repeats
        )  # fmt: skip

    rms = worst = 0.0
    time_s = None
    for n in N_VECTORS:
        x = vectors[:n]
        if (ran := run(x, 1 if quick else _REPEATS)) is None:
            continue
        values, time_s = ran
        deviation = expected_deviation(kernel.type, exact, x, gpu=device.gpu)
        n_rms, n_worst = errors(values, x.astype(np.float64) @ exact.T, deviation)
        rms, worst = float(np.maximum(rms, n_rms)), float(np.maximum(worst, n_worst))  # NaN stays
    if time_s is None:
        return None
    if quick:
        return Product(kernel, rms, worst, None)
    plain_s = _time_f32(device, vectors, _REPEATS)
    if time_s > SLOW * plain_s and (again := run(vectors, _REPEATS_TO_BE_SURE)):  # or the machine was busy
        time_s, plain_s = min(time_s, again[1]), max(plain_s, _time_f32(device, vectors, _REPEATS_TO_BE_SURE))
    return Product(kernel, rms, worst, time_s / plain_s if plain_s else None)


def _time_f32(device: Device, vectors: NDArray[np.float32], n_repeats: int) -> float:
    """Seconds of a product of F32; 0 if the device has none."""
    weights = np.zeros(N_ROWS * N_COLUMNS, np.float32).view(np.uint8)
    ran = _core.multiply(
        device.name, device.buffer_types[-1], "f32", weights, vectors, N_ROWS, N_THREADS, n_repeats
    )  # fmt: skip
    return ran[1] if ran else 0.0


def expected_deviation(
    type: str, weights: NDArray[np.float64], vectors: NDArray[np.float32], *, gpu: bool
) -> NDArray[np.float64]:
    """Standard deviation of the rounding error of each element of a product, shape [n_vectors, n_rows] (see above)."""
    x = np.abs(vectors.astype(np.float64))
    largest = np.repeat(x.reshape(len(x), -1, _BLOCK).max(axis=2), _BLOCK, axis=1)
    if type == "F32":
        u = x * (x.shape[1] ** 0.5 / 2**24)
    elif type in ("F16", "BF16"):
        u = x / 256
    else:
        u = largest / 254
    if gpu:
        u = largest / 12 if type in ("MXFP4", "NVFP4") else u + x / 256
    deviation: NDArray[np.float64] = np.sqrt(u**2 @ (weights**2).T / 3)
    return deviation


def errors(
    values: NDArray[np.float32], exact: NDArray[np.float64], deviation: NDArray[np.float64]
) -> tuple[float, float]:
    """Root mean square and maximum of the error in standard deviations; NaN if a value is not finite."""
    error = np.abs(values.astype(np.float64) - exact) / deviation
    error[~np.isfinite(error)] = np.nan
    return float(np.sqrt(np.mean(error**2))), float(error.max())


def sample_weights(name: str) -> NDArray[np.uint8]:
    """Weights of a type as ggml names it, N_ROWS × N_COLUMNS, the same on every machine."""
    rng = np.random.default_rng(0)
    if name in _SCALE_FIRST or name == "iq1_m":
        n_blocks = N_ROWS * N_COLUMNS // _BLOCK
        block_bytes = next(size for known, _, size in _core.tensor_types() if known == name)
        blocks = rng.integers(0, 256, (n_blocks, block_bytes), np.uint8)
        scales = (0.01 * rng.uniform(0.5, 1.0, n_blocks)).astype("<f2")
        if name == "iq1_m":  # a nibble of it on top of each of the last four words
            words = blocks[:, -8:].copy().view("<u2") & 0x0FFF
            nibbles = scales.view("<u2")[:, None] >> np.array([0, 4, 8, 12], np.uint16)
            blocks[:, -8:] = (words | (nibbles << 12).astype("<u2")).view(np.uint8)
        else:
            blocks[:, :2] = scales[:, None].view(np.uint8)
        return blocks.reshape(-1)
    return _core.quantize(name, rng.standard_normal((N_ROWS, N_COLUMNS), np.float32))
