"""The check of the kernels that nobody has to call.

Before a worker evaluates a model, it multiplies with weights of each type that the model holds. It does so once in its
life, and not at all if a store remembers the outcome. A kernel that crashes ends the worker as any other crash does,
but before time is spent.
"""

from __future__ import annotations

import functools
from collections.abc import Set

from ppldelta.engine import kernels
from ppldelta.engine.devices import devices
from ppldelta.engine.loaded import PinnedSource
from ppldelta.engine.remedies import remedy
from ppldelta.engine.tensors import tensors_of
from ppldelta.errors import ModelError
from ppldelta.wording.names import printable

Trust = tuple[str, str]
"""`Device.kernels` and a tensor type: what was found to multiply right."""

_here: set[Trust] = set()


def check(pinned: PinnedSource, on_gpu: bool, known: Set[Trust]) -> frozenset[Trust]:
    """Checks the kernels of this process that a model needs, if that was not done before.

    Args:
        pinned: the model.
        on_gpu: whether it has layers on a GPU.
        known: what needs no check.

    Returns:
        What this process has checked so far, for this model or another one, on devices of its own machine: at the
        address of an RPC server another one may answer the next time.

    Raises:
        ModelError: a kernel is wrong, or the file cannot be read any more.
    """
    on = [device for device in devices() if on_gpu or not device.gpu]
    wanted = {(device.kernels, type) for device in on for type in _types(pinned)}
    for device in on:
        for type in sorted(type for line, type in wanted - known - _here if line == device.kernels):
            for product in kernels.multiply(type, [device], quick=True):
                if not product.right:
                    raise ModelError(
                        f"this build multiplies wrongly on this machine: {product.kernel} is off by up to "
                        f"{product.worst:.3g} times what rounding explains, so every number of "
                        f"`{printable(pinned.source.path)}` would be wrong",
                        hint=f"run `ppldelta doctor`; without this kernel: {remedy(product.kernel, device)}",
                    )
            _here.add((device.kernels, type))
    elsewhere = {device.kernels for device in on if device.backend == "RPC"}
    return frozenset(trust for trust in _here if trust[0] not in elsewhere)


@functools.lru_cache(maxsize=64)  # asked for with every shard
def _types(pinned: PinnedSource) -> frozenset[str]:
    """Types of a model's matrices, as far as they are ones that can be checked."""
    found = {each.type.upper() for each in tensors_of(pinned.source.files).values() if each.n_rows > 1}
    return frozenset(found.intersection(kernels.types()))
