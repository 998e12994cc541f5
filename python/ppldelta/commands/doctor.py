"""`ppldelta doctor`: what this build can do on this machine, and whether its kernels multiply right."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from ppldelta.console.progress import meter
from ppldelta.engine import cpu, isolated, kernels, native, remedies
from ppldelta.engine.devices import Device, kernels_of
from ppldelta.engine.isolated import Crash, Ended
from ppldelta.engine.kernels import SLOW, Kernel, Product
from ppldelta.models.hub_cache import cache_folder
from ppldelta.models.hub_errors import INSTALL
from ppldelta.store.store import default_path
from ppldelta.wording import numbers
from ppldelta.wording.names import as_utf8, columns, counted, printable

FORMAT = 1
"""Version of the names in `Examination.as_json`."""


@dataclass(frozen=True)
class Problem:
    """What is wrong, and the next step."""

    message: str
    hint: str


@dataclass(frozen=True)
class Examination:
    """What was found out; `print` shows it.

    Attributes:
        release: versions in one line.
        patches: names of the patches to llama.cpp.
        compiler: that built the extension.
        cpu: the processor's name.
        missing: CPU features that the build needs and the CPU lacks, as ggml names them.
        unused: CPU features that ggml could use and this build does not.
        devices: of this machine; empty if the backends cannot be started.
        store: the store's file.
        store_bytes: its size; None if there is none yet.
        hub: the version of huggingface_hub; None if it is not installed.
        hub_cache: where models from the Hugging Face hub are kept.
        products: of each kernel that did not crash.
        crashes: kernels that ended their process.
        problems: all that is wrong, the gravest first.
    """

    release: str
    patches: list[str]
    compiler: str
    cpu: str
    missing: list[str]
    unused: list[str]
    devices: tuple[Device, ...]
    store: Path
    store_bytes: int | None
    hub: str | None
    hub_cache: Path
    products: list[Product] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def kernels(self) -> str:
        """What the signature of a run says here (`engine.devices`)."""
        return kernels_of(self.devices)

    def as_json(self) -> dict[str, Any]:
        """The same for programs; names stay as they are within a `format`."""
        return {
            "format": FORMAT,
            "ok": not self.problems,
            "release": self.release,
            "patches": self.patches,
            "compiler": self.compiler,
            "kernels": self.kernels,
            "cpu": {"name": self.cpu, "features_missing": self.missing, "features_unused": self.unused},
            "devices": [
                {
                    "name": device.name,
                    "description": device.description,
                    "backend": device.backend,
                    "memory_free": _free(device),
                    "memory_total": device.memory_total,
                    "buffer_types": list(device.buffer_types),
                    "features": dict(device.features),
                }
                for device in self.devices
            ],
            "store": {"path": as_utf8(self.store), "size_bytes": self.store_bytes},
            "hub": {"version": self.hub, "cache": as_utf8(self.hub_cache)},
            "checks": [
                *(
                    {
                        **_named(product.kernel),
                        "outcome": "right" if product.right else "wrong",
                        "rms": _finite(product.rms),
                        "worst": _finite(product.worst),
                        "times_f32": product.slowness,
                        "slow": _slow(product),
                    }
                    for product in self.products
                ),
                *(
                    {**_named(crash.kernel), "outcome": "crash", "cause": crash.cause, "said": crash.said}
                    for crash in self.crashes
                ),
            ],
            "problems": [{"message": problem.message, "hint": problem.hint} for problem in self.problems],
        }

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [
            ("build", f"{self.release}, built with {self.compiler}"),
            ("patches", ", ".join(self.patches)),
        ]
        if not self.devices:
            rows.append(("CPU", self.cpu))
        for device in self.devices:
            rows.append(
                (
                    device.name,
                    f"{printable(self.cpu if device.backend == 'CPU' else device.description)}, {_memory(device)}",
                )
            )
            rows.append(("", f"kernels: {device.kernels.partition('[')[2].removesuffix(']').replace(',', ', ')}"))
        if self.unused:
            rows.append(("", f"not used, though the CPU has it: {', '.join(self.unused)}"))
        size = "not there yet" if self.store_bytes is None else numbers.size(self.store_bytes)
        rows.append(("store", f"{printable(self.store)}, {size}"))
        version = f"huggingface_hub {self.hub}" if self.hub else f"not there ({INSTALL})"
        rows.append(("hub", f"{version}, models are kept in {printable(self.hub_cache)}"))
        parts = ["\n".join(columns(rows, n_left=2))]
        if self.products or self.crashes:
            parts.append("\n".join(columns(self._table(), n_left=99)))
        parts += [f"{problem.message}\nhint: {problem.hint}" for problem in self.problems]
        if not self.problems:
            n_types = len({product.kernel.type for product in self.products})
            parts.append(f"{counted(n_types, 'tensor type')} in {len(self.products)} layouts, all multiplied right.")
        return "\n\n".join(parts)

    def _table(self) -> list[tuple[str, ...]]:
        """A line per type, a column for each place where llama.cpp would put weights."""
        cells: dict[Kernel, str] = {}
        for product in self.products:
            cells[product.kernel] = ("right" if product.right else "WRONG") + (
                f", {product.slowness:.0f} × slower than F32" if _slow(product) else ""
            )
        cells |= {crash.kernel: f"CRASH ({crash.cause})" for crash in self.crashes}
        places = [(device.name, buffer_type) for device in self.devices for buffer_type in device.buffer_types]
        rows: list[tuple[str, ...]] = [("type", *(buffer for _, buffer in places))]
        for type in kernels.types():
            rows.append((type, *(cells.get(Kernel(type, *place), numbers.NONE) for place in places)))
        return rows


def examine(store: Path | None = None, *, progress: bool = False) -> Examination:
    """Looks at this build and this machine, and multiplies with weights of every type on every device.

    Args:
        store: the store's file; by default `store.store.default_path()`. It is not opened.
        progress: whether to show how far it is, on stderr.
    """
    path = (store or default_path()).expanduser()
    problems: list[Problem] = []
    try:
        devices = isolated.find_devices()
    except Ended as ended:
        devices = ()
        problems.append(_unstartable(ended))
    features = [name for device in devices if device.backend == "CPU" for name, _ in device.features]
    missing = cpu.missing(features)
    if missing:
        problems.append(
            Problem(f"The build needs what this CPU lacks: {', '.join(missing)}.", remedies.without(missing))
        )
    products: list[Product] = []
    crashes: list[Crash] = []
    if devices:
        types = kernels.types()
        with meter("multiplying", len(types), "type", brief=True, visible=progress) as shown:
            try:
                products, crashes = isolated.check(types, lambda: shown.update(1))
            except Ended as ended:
                problems.append(_unstartable(ended))
    on = {device.name: device for device in devices}
    problems += [
        Problem(
            f"{crash.kernel} ends the process ({crash.cause})" + (f": {crash.said}." if crash.said else "."),
            remedies.remedy(crash.kernel, on[crash.kernel.device]),
        )
        for crash in crashes
    ]
    problems += [
        Problem(
            f"{product.kernel} is multiplied wrongly: the error is up to {product.worst:.3g} times what rounding "
            "explains.",
            remedies.remedy(product.kernel, on[product.kernel.device]),
        )
        for product in products
        if not product.right
    ]
    hub = None
    with suppress(metadata.PackageNotFoundError):
        hub = metadata.version("huggingface_hub")
    return Examination(
        release=native.release(),
        patches=native.patches(),
        compiler=native.compiler(),
        cpu=cpu.name(),
        missing=missing,
        unused=cpu.unused(features) if devices else [],
        devices=devices,
        store=path,
        store_bytes=os.path.getsize(path) if path.is_file() else None,
        hub=hub,
        hub_cache=cache_folder(),
        products=products,
        crashes=crashes,
        problems=problems,
    )


def _unstartable(ended: Ended) -> Problem:
    return Problem(
        f"The backends end the process when they start ({ended.cause})" + (f": {ended.said}." if ended.said else "."),
        remedies.without([]),
    )


def _named(kernel: Kernel) -> dict[str, str]:
    return {"type": kernel.type, "device": kernel.device, "buffer_type": kernel.buffer_type}


def _slow(product: Product) -> bool:
    return product.slowness is not None and product.slowness > SLOW


def _finite(value: float) -> float | None:
    return value if numbers.known(value) else None


def _free(device: Device) -> int:
    """Bytes that are free. ggml says of the machine's memory that all of it is, so the system is asked for that."""
    available = cpu.memory_available() if device.backend == "CPU" else None
    return device.memory_free if available is None else min(available, device.memory_total)


def _memory(device: Device) -> str:
    if not device.memory_total:
        return "memory unknown"
    return f"{numbers.size(_free(device))} of {numbers.size(device.memory_total)} free"
