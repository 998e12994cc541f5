"""A model as the user writes it (a path, a folder of paths, a mapping of labels) → labelled files.

Labels are what the report shows: the file's name without `.gguf`, unless one is given, and always unique.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.wording.names import as_utf8, printable, shown_type

GGUF_MAGIC = b"GGUF"
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")  # as llama.cpp's gguf-split names the files of one model


@dataclass(frozen=True)
class ModelReference:
    """A model file and the label under which frames and report show it.

    Attributes:
        label: the name to show.
        path: the GGUF file (of several, the first).
        given: whether the user chose the label, so that it stays as it is.
    """

    label: str
    path: Path
    given: bool = False


ModelLike = str | os.PathLike[str] | ModelReference
"""What `resolve` takes."""


def resolve(model: ModelLike, *, label: str | None = None) -> ModelReference:
    """Finds the file that `model` names.

    Args:
        model: path of a GGUF file; of a model in several files, the first one (`…-00001-of-0000N.gguf`).
        label: name to show; by default the file's name without `.gguf` and without the split's number.

    Returns:
        The reference; a `ModelReference` comes back as it is.

    Raises:
        ModelError: there is no such file, or it is not a GGUF file.
    """
    if isinstance(model, ModelReference):
        return model
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
        raise ModelError(f"a model must be the path of a GGUF file, got {shown_type(model)}")
    path = Path(model).expanduser()
    shown = printable(model)
    if not path.exists():
        raise ModelError(f"no model file `{shown}`", hint=_missing_hint(path))
    if path.is_dir():
        names = sorted(printable(p.name) for p in path.glob("*.gguf"))
        hint = f"name one of its files: {', '.join(names[:8])}" if names else "name a file that ends in `.gguf`"
        raise ModelError(f"`{shown}` is a folder, not a GGUF file", hint=hint)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"cannot read the model file `{shown}`: {error.strerror}") from error
    if magic != GGUF_MAGIC:
        found = f"begins with {magic!r} instead of {GGUF_MAGIC!r}" if magic else "is empty"
        raise ModelError(
            f"`{shown}` is not a GGUF file: it {found}",
            hint="convert the model with llama.cpp's convert_hf_to_gguf.py, or download a GGUF of it",
        )
    split = _SPLIT.search(path.name)
    if split and int(split[1]) != 1:
        raise ModelError(
            f"`{shown}` is part {int(split[1])} of a split model",
            hint=f"name the first part: `{printable(model_files(path)[0])}`",
        )
    name = as_utf8(_SPLIT.sub("", path.name).removesuffix(".gguf"))
    return ModelReference(as_utf8(label) if label else name, path, given=label is not None)


def model_files(path: Path) -> list[Path]:
    """All files of a model: `path` alone, or as many as its name says where gguf-split made several."""
    split = _SPLIT.search(path.name)
    if not split:
        return [path]
    head = path.name[: split.start()]
    return [path.with_name(f"{head}-{i:05d}-of-{split[2]}.gguf") for i in range(1, int(split[2]) + 1)]


def resolve_many(models: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike]) -> list[ModelReference]:
    """Finds the files of one or several models.

    Args:
        models: one model, several, or a mapping label → model.

    Raises:
        ModelError: see `resolve`; also when `models` is empty.
    """
    if isinstance(models, Mapping):
        references = [resolve(model, label=str(label)) for label, model in models.items()]
    elif isinstance(models, (str, os.PathLike, ModelReference)):
        references = [resolve(models)]
    elif isinstance(models, Iterable) and not isinstance(models, (bytes, bytearray)):
        references = [resolve(model) for model in models]
    else:
        raise ModelError(
            f"`cmp` must name models, got {shown_type(models)}",
            hint="give the path of a GGUF file, a list of paths, or a mapping from labels to paths",
        )
    if not references:
        empty = "mapping from labels to paths" if isinstance(models, Mapping) else "list"
        raise ModelError(
            f"no comparison model is given: `cmp` is an empty {empty}", hint="name at least one GGUF file as `cmp`"
        )
    return references


def unique_labels(references: list[ModelReference]) -> list[ModelReference]:
    """Tells models of equal label apart: by their folder where the user chose no label, then by a number."""
    times = Counter(r.label for r in references)
    references = [
        replace(r, label=f"{as_utf8(r.path.resolve().parent.name)}/{r.label}")
        if times[r.label] > 1 and not r.given
        else r
        for r in references
    ]
    taken = {r.label for r in references}
    seen: set[str] = set()
    out = []
    for r in references:
        label, number = r.label, 1
        while label in seen or (number > 1 and label in taken):
            number += 1
            label = f"{r.label} ({number})"
        seen.add(label)
        out.append(replace(r, label=label))
    return out


def _missing_hint(path: Path) -> str:
    """The next step after a missing file: the names that are there, or the nearest folder that exists."""
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if parent == path.parent:
        names = sorted(printable(p.name) for p in parent.glob("*.gguf"))
        if names:
            return f"GGUF files in `{printable(parent)}`: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}"
        return f"there is no GGUF file in `{printable(parent)}`"
    return f"the folder `{printable(path.parent)}` does not exist; `{printable(parent)}` does"
