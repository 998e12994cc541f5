"""A model as the user writes it (a path, a list of paths, a mapping of labels) → its source under a label.

Labels are what the report shows: the file's name without `.gguf`, unless one is given, and always unique.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.models.source import ModelSource
from ppldelta.wording.names import as_utf8, printable, shown_type

GGUF_MAGIC = b"GGUF"
KLD_MAGIC = b"_logits_"
"""How a `.kld` file begins, llama-perplexity's of a model's log-probabilities."""


@dataclass(frozen=True)
class LabelledSource:
    """A model and the label under which frames and report show it.

    Attributes:
        label: the name to show.
        source: what the model is.
        given: whether the user chose the label, so that it stays as it is.
        is_kld: whether the file holds a model's log-probabilities instead of the model (`records.kld`).
    """

    label: str
    source: ModelSource
    given: bool = False
    is_kld: bool = False

    @property
    def path(self) -> Path:
        """Its GGUF file (of several, the first)."""
        return self.source.path


ModelLike = str | os.PathLike[str] | LabelledSource
"""What `resolve` takes."""


def resolve(model: ModelLike, *, label: str | None = None) -> LabelledSource:
    """Finds the file that `model` names.

    Args:
        model: path of a GGUF file; of a model in several files, the first one (`…-00001-of-0000N.gguf`). A `.kld` file
            is found too, and it is for the caller to say whether one will do.
        label: name to show; by default `ModelSource.name`.

    Returns:
        The model; a `LabelledSource` comes back as it is.

    Raises:
        ModelError: there is no such file, or it is neither.
    """
    if isinstance(model, LabelledSource):
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
            magic = file.read(len(KLD_MAGIC))
    except OSError as error:
        raise ModelError(f"cannot read the model file `{shown}`: {error.strerror}") from error
    if magic == KLD_MAGIC or (path.suffix.lower() == ".kld" and magic[:4] != GGUF_MAGIC):
        name = as_utf8(label) if label else as_utf8(path.name).removesuffix(".kld")
        return LabelledSource(name, ModelSource(path), given=label is not None, is_kld=True)
    magic = magic[:4]
    if magic != GGUF_MAGIC:
        found = f"begins with {magic!r} instead of {GGUF_MAGIC!r}" if magic else "is empty"
        raise ModelError(
            f"`{shown}` is not a GGUF file: it {found}",
            hint="convert the model with llama.cpp's convert_hf_to_gguf.py, or download a GGUF of it",
        )
    source = ModelSource(path)
    if source.part_number != 1:
        raise ModelError(
            f"`{shown}` is part {source.part_number} of a split model",
            hint=f"name the first part: `{printable(source.parts[0])}`",
        )
    return LabelledSource(as_utf8(label) if label else source.name, source, given=label is not None)


def resolve_many(models: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike]) -> list[LabelledSource]:
    """Finds the files of one or several models.

    Args:
        models: one model, several, or a mapping label → model.

    Raises:
        ModelError: see `resolve`; also when `models` is empty.
    """
    if isinstance(models, Mapping):
        found = [resolve(model, label=str(label)) for label, model in models.items()]
    elif isinstance(models, (str, os.PathLike, LabelledSource)):
        found = [resolve(models)]
    elif isinstance(models, Iterable) and not isinstance(models, (bytes, bytearray)):
        found = [resolve(model) for model in models]
    else:
        raise ModelError(
            f"`cmp` must name models, got {shown_type(models)}",
            hint="give the path of a GGUF file, a list of paths, or a mapping from labels to paths",
        )
    if not found:
        empty = "mapping from labels to paths" if isinstance(models, Mapping) else "list"
        raise ModelError(
            f"no comparison model is given: `cmp` is an empty {empty}", hint="name at least one GGUF file as `cmp`"
        )
    return found


def unique_labels(models: list[LabelledSource]) -> list[LabelledSource]:
    """Tells models of equal label apart: by their folder if the user chose no label, then by a number."""
    times = Counter(each.label for each in models)
    models = [
        replace(each, label=f"{as_utf8(each.path.resolve().parent.name)}/{each.label}")
        if times[each.label] > 1 and not each.given
        else each
        for each in models
    ]
    taken = {each.label for each in models}
    seen: set[str] = set()
    out = []
    for each in models:
        label, number = each.label, 1
        while label in seen or (number > 1 and label in taken):
            number += 1
            label = f"{each.label} ({number})"
        seen.add(label)
        out.append(replace(each, label=label))
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
