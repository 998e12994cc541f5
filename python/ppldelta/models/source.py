"""What a model is: the files that it is read from and the adapters that are applied to it.

Its content hash (`models.identity`), the store and the worker go by all of that, so that two adapters on one file, or
one adapter at two scales, are two models everywhere.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.wording.names import as_utf8, printable

SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")  # as llama.cpp's gguf-split names the files of one model


def part_number(name: str) -> int:
    """Which of a split model's files a file is, by its name; 1 for a model in one file."""
    split = SPLIT.search(name)
    return int(split[1]) if split else 1


def part_names(name: str) -> list[str]:
    """The names of all files of the model that a file belongs to, in order; folders before the name stay."""
    split = SPLIT.search(name)
    if not split:
        return [name]
    return [f"{name[: split.start()]}-{i:05d}-of-{split[2]}.gguf" for i in range(1, int(split[2]) + 1)]


@dataclass(frozen=True)
class Adapter:
    """A LoRA or a control vector that is applied to a model; its file says which (`models.fitness`).

    Attributes:
        path: its GGUF file.
        scale: what its change of the weights, or of what layers hand on, is multiplied by.

    Raises:
        ModelError: the scale is not a finite number.
    """

    path: Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise ModelError(
                f"the scale of the adapter `{printable(self.path)}` must be a finite number, got {self.scale}"
            )
        object.__setattr__(self, "scale", float(self.scale) + 0.0)  # equal scales have one spelling: -0.0 is 0.0


@dataclass(frozen=True)
class HubFile:
    """Where on the Hugging Face hub a file was downloaded from.

    Attributes:
        repo: `OWNER/REPO`.
        path: in the repository; of several files, the first.
        commit: of the repository, 40 hexadecimal digits.
    """

    repo: str
    path: str
    commit: str

    @property
    def name(self) -> str:
        """What names the file: `OWNER/REPO:FILE.gguf`."""
        return f"{self.repo}:{self.path}"


@dataclass(frozen=True)
class ModelSource:
    """What a model is.

    Attributes:
        path: the GGUF file (of several, the first).
        adapters: what is applied to it, in this order.
        origin: where the file is from, if it was named as one of the hub; the same file is the same model without.
    """

    path: Path
    adapters: tuple[Adapter, ...] = ()
    origin: HubFile | None = field(default=None, compare=False)

    @property
    def parts(self) -> list[Path]:
        """The model's own files: `path` alone, or as many as its name says if gguf-split made several."""
        return [self.path.with_name(name) for name in part_names(self.path.name)]

    @property
    def files(self) -> list[Path]:
        """All files that are read for the model: its own, then those of its adapters."""
        return [*self.parts, *(adapter.path for adapter in self.adapters)]

    @property
    def part_number(self) -> int:
        """Which of a split model's files `path` is; 1 for a model in one file."""
        return part_number(self.path.name)

    @property
    def name(self) -> str:
        """What the model is called if nobody gives it a label.

        That is its file's name without `.gguf` and without the split's number, then the name and the scale of each
        adapter: `base+lora:0.8`.
        """
        name = SPLIT.sub("", self.path.name).removesuffix(".gguf")
        return as_utf8(name + "".join(f"+{each.path.stem}:{each.scale:g}" for each in self.adapters))

    @property
    def size_bytes(self) -> int:
        """Of all its files.

        Raises:
            OSError: one of them is missing.
        """
        return sum(file.stat().st_size for file in self.files)

    def absolute(self) -> ModelSource:
        """The same under absolute paths; links stay as they are."""
        return replace(
            self,
            path=Path(os.path.abspath(self.path)),
            adapters=tuple(replace(each, path=Path(os.path.abspath(each.path))) for each in self.adapters),
        )
