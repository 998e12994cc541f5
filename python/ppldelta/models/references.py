"""A model as the user writes it (a path, a folder of paths, a mapping of labels) → labelled files.

Labels are what the report shows: the file's name without `.gguf`, unless one is given, and always unique.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppldelta.errors import ModelError

GGUF_MAGIC = b"GGUF"
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})$")

ModelLike = str | os.PathLike[str]


@dataclass(frozen=True)
class ModelReference:
    """A model file and the label under which frames and report show it."""

    label: str
    path: Path


def resolve(model: ModelLike, *, label: str | None = None) -> ModelReference:
    """Finds the file that `model` names.

    Args:
        model: path of a GGUF file; of a model in several files, the first one (`…-00001-of-0000N.gguf`).
        label: name to show; by default the file's name without `.gguf` and without the split's number.

    Raises:
        ModelError: there is no such file, or it is not a GGUF file.
    """
    path = Path(model).expanduser()
    if not path.exists():
        raise ModelError(f"no model file `{model}`", hint=_missing_hint(path))
    if path.is_dir():
        names = sorted(p.name for p in path.glob("*.gguf"))
        hint = f"name one of its files: {', '.join(names[:8])}" if names else "name a file that ends in `.gguf`"
        raise ModelError(f"`{model}` is a folder, not a GGUF file", hint=hint)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"cannot read the model file `{model}`: {error.strerror}") from error
    if magic != GGUF_MAGIC:
        raise ModelError(
            f"`{model}` is not a GGUF file: it begins with {magic!r} instead of {GGUF_MAGIC!r}",
            hint="convert the model with llama.cpp's convert_hf_to_gguf.py, or download a GGUF of it",
        )
    split = _SPLIT.search(path.stem)
    if split and int(split[1]) != 1:
        first = path.with_name(f"{path.stem[: split.start()]}-00001-of-{split[2]}{path.suffix}")
        raise ModelError(f"`{model}` is part {int(split[1])} of a split model", hint=f"name the first part: `{first}`")
    name = path.name.removesuffix(".gguf")
    return ModelReference(label or _SPLIT.sub("", name), path)


def resolve_many(models: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike]) -> list[ModelReference]:
    """Finds the files of one or several models and makes their labels unique.

    Args:
        models: one model, several, or a mapping label → model.

    Raises:
        ModelError: see `resolve`; also when `models` is empty.
    """
    if isinstance(models, Mapping):
        references = [resolve(model, label=str(label)) for label, model in models.items()]
    else:
        single = isinstance(models, (str, os.PathLike))
        references = [resolve(model) for model in ([models] if single else models)]
    if not references:
        raise ModelError("no comparison model is given", hint="name at least one GGUF file as `cmp`")
    return unique_labels(references)


def unique_labels(references: list[ModelReference]) -> list[ModelReference]:
    """Tells models of equal label apart by their folder, then by a number. Nothing is merged."""

    def clash(items: list[ModelReference]) -> set[str]:
        labels = [item.label for item in items]
        return {label for label in labels if labels.count(label) > 1}

    clashing = clash(references)
    references = [
        ModelReference(f"{r.path.resolve().parent.name}/{r.label}", r.path) if r.label in clashing else r
        for r in references
    ]
    clashing = clash(references)
    taken = {r.label for r in references}
    out: list[ModelReference] = []
    for r in references:
        label, number = r.label, 1
        if label in clashing and any(o.label == label for o in out):
            while label in taken:
                number += 1
                label = f"{r.label} ({number})"
            taken.add(label)
        out.append(ModelReference(label, r.path))
    return out


def _missing_hint(path: Path) -> str:
    """The next step after a missing file: the names that are there, or the nearest folder that exists."""
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if parent == path.parent:
        names = sorted(p.name for p in parent.glob("*.gguf"))
        if names:
            return f"GGUF files in `{parent}`: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}"
        return f"there is no GGUF file in `{parent}`"
    return f"the folder `{path.parent}` does not exist; `{parent}` does"
