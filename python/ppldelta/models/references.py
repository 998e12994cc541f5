"""A model as the user writes it (a path, a name on the hub, a list, a mapping of labels) → its source under a label.

A path that exists always wins over a name on the hub, and all models are found before any is downloaded. Labels are
what the report shows: the file's name without `.gguf`, unless one is given, and always unique.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.models import hub
from ppldelta.models.download import Hub, HubModel
from ppldelta.models.fitness import kind_of, refuse_unfit
from ppldelta.models.source import Adapter, ModelSource
from ppldelta.wording.names import as_utf8, printable, shown_type

GGUF_MAGIC = b"GGUF"
KLD_MAGIC = b"_logits_"
"""How a `.kld` file begins, llama-perplexity's of a model's log-probabilities."""
_ADAPTER = re.compile(r"(?P<path>.+\.gguf)(?::(?P<scale>[^:]+))?", re.DOTALL)


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


@dataclass(frozen=True)
class Named:
    """A model as the user writes it, under a label that the user chose."""

    label: str
    model: str | os.PathLike[str]


ModelLike = str | os.PathLike[str] | Named | LabelledSource
"""What `resolve` takes."""


@dataclass(frozen=True)
class _OnHub:
    """A model that was found on the hub; perhaps it is to be downloaded."""

    model: HubModel
    label: str | None
    adapters: tuple[Adapter, ...]


def resolve(model: ModelLike, *, label: str | None = None, on: Hub | None = None) -> LabelledSource:
    """Finds the file that `model` names, and downloads it if it is on the hub.

    Args:
        model: path of a GGUF file; of a model in several files, the first one (`…-00001-of-0000N.gguf`). A text may
            also be a name on the hub (`models.hub`). A `.kld` file is found too; whether one will do is for the caller
            to say.
        label: name to show; by default `ModelSource.name`.
        on: the hub to ask.

    Returns:
        The model; a `LabelledSource` comes back as it is.

    Raises:
        ModelError: there is no such file, it is not a GGUF file, it cannot be had from the hub, or an adapter is none
            for this model.
    """
    on = on or Hub()
    return _fetched(_found(model, label, on), on)


def resolve_many(
    models: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike], *, on: Hub | None = None
) -> list[LabelledSource]:
    """Finds the files of one or several models, and downloads those that are on the hub.

    Args:
        models: one model, several, or a mapping label → model.
        on: the hub to ask.

    Raises:
        ModelError: see `resolve`; also when `models` is empty.
    """
    on = on or Hub()
    return [_fetched(each, on) for each in _many_found(models, on)]


def resolve_all(
    ref: ModelLike, cmp: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike], on: Hub
) -> list[LabelledSource]:
    """The reference and the comparisons under labels that are unique; none is downloaded before all are found.

    Raises:
        ModelError: see `resolve_many`.
    """
    found = [_found(ref, None, on), *_many_found(cmp, on)]
    return unique_labels([_fetched(each, on) for each in found])


def _many_found(
    models: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike], on: Hub
) -> list[LabelledSource | _OnHub]:
    if isinstance(models, Mapping):
        found = [_found(model, str(label), on) for label, model in models.items()]
    elif isinstance(models, (str, os.PathLike, Named, LabelledSource)):
        found = [_found(models, None, on)]
    elif isinstance(models, Iterable) and not isinstance(models, (bytes, bytearray)):
        found = [_found(model, None, on) for model in models]
    else:
        raise ModelError(
            f"`cmp` must name models, got {shown_type(models)}",
            hint="give the path of a GGUF file or a name on the hub, a list of them, or a mapping from labels to them",
        )
    if not found:
        empty = "mapping from labels to paths" if isinstance(models, Mapping) else "list"
        raise ModelError(
            f"no comparison model is given: `cmp` is an empty {empty}", hint="name at least one GGUF file as `cmp`"
        )
    return found


def _found(model: ModelLike, label: str | None, on: Hub) -> LabelledSource | _OnHub:
    """
    Raises:
        ModelError: see `resolve`.
    """
    if isinstance(model, LabelledSource):
        return model
    if isinstance(model, Named):
        return _found(model.model, model.label, on)
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
        raise ModelError(f"a model must be the path of a GGUF file or a name on the hub, got {shown_type(model)}")
    path = Path(model).expanduser()
    adapters: tuple[Adapter, ...] = ()
    if not path.exists() and isinstance(model, str):
        model, adapters = _without_adapters(model)
        path = Path(model).expanduser()
    if not path.exists():
        if isinstance(model, str) and (name := hub.parse(model)):
            return _OnHub(on.find(name), label, adapters)
        raise ModelError(f"no model file `{printable(model)}`", hint=_missing_hint(path, os.fspath(model)))
    if not adapters and is_kld(path):
        shown = as_utf8(label) if label else as_utf8(path.name).removesuffix(".kld")
        return LabelledSource(shown, ModelSource(path), given=label is not None, is_kld=True)
    return _labelled(replace(_checked(path, printable(model)), adapters=adapters), label)


def is_kld(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds a model's log-probabilities (`records.kld`), or its name says so and it is no GGUF file."""
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            magic = file.read(len(KLD_MAGIC))
    except OSError:
        return False
    return magic == KLD_MAGIC or (path.suffix.lower() == ".kld" and not magic.startswith(GGUF_MAGIC))


def _without_adapters(text: str) -> tuple[str, tuple[Adapter, ...]]:
    """`MODEL+ADAPTER.gguf:SCALE+…` → the model's name, and what is applied to it. A `+` may also be part of a file's
    name: the longest beginning that is a file is the model, else the shortest one.

    Raises:
        ModelError: an adapter's file is missing or is no adapter in GGUF, or a scale is no number.
    """
    pieces = text.split("+")
    cuts = [n for n in range(1, len(pieces)) if all(_ADAPTER.fullmatch(each) for each in pieces[n:])]
    if not cuts:
        return text, ()
    files = [n for n in cuts if Path("+".join(pieces[:n])).expanduser().exists()]
    cut = files[-1] if files else cuts[0]
    return "+".join(pieces[:cut]), tuple(map(_adapter, pieces[cut:]))


def _adapter(text: str) -> Adapter:
    """
    Raises:
        ModelError: see `_without_adapters`.
    """
    found = _ADAPTER.fullmatch(text)
    assert found
    path = Path(found["path"]).expanduser()
    if not path.exists():
        raise ModelError(f"no adapter file `{printable(path)}`", hint=_missing_hint(path, found["path"]))
    try:
        scale = float(found["scale"] or 1.0)
    except ValueError:
        raise ModelError(
            f"the scale of the adapter `{printable(path)}` must be a number, got `{printable(found['scale'])}`",
            hint="write it behind the file: `base.gguf+lora.gguf:0.8`",
        ) from None
    _checked(path, printable(path))
    kind_of(path)
    return Adapter(path, scale)


def _fetched(found: LabelledSource | _OnHub, on: Hub) -> LabelledSource:
    """
    Raises:
        ModelError: it cannot be downloaded, or what came is not a GGUF file.
    """
    if isinstance(found, LabelledSource):
        return found
    source = on.fetch(found.model)
    _checked(source.path, f"{found.model.name}")
    return _labelled(replace(source, adapters=found.adapters), found.label)


def _labelled(source: ModelSource, label: str | None) -> LabelledSource:
    """
    Raises:
        ModelError: an adapter is not for this model.
    """
    refuse_unfit(source)
    return LabelledSource(as_utf8(label) if label else source.name, source, given=label is not None)


def _checked(path: Path, shown: str) -> ModelSource:
    """The source of a path that exists.

    Raises:
        ModelError: it is not a GGUF file, or not the first of its model.
    """
    if path.is_dir():
        names = sorted(printable(p.name) for p in path.glob("*.gguf"))
        hint = f"name one of its files: {', '.join(names[:8])}" if names else "name a file that ends in `.gguf`"
        raise ModelError(f"`{shown}` is a folder, not a GGUF file", hint=hint)
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        raise ModelError(f"cannot read the model file `{shown}`: {error.strerror}") from error
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
    return source


def unique_labels(models: list[LabelledSource]) -> list[LabelledSource]:
    """Tells models of equal label apart: by folder or owner on the hub if the user chose no label, then by a number."""
    times = Counter(each.label for each in models)
    models = [
        replace(each, label=f"{_home(each.source)}/{each.label}") if times[each.label] > 1 and not each.given else each
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


def _home(source: ModelSource) -> str:
    """What tells a model's file from one of the same name elsewhere."""
    return source.origin.repo.partition("/")[0] if source.origin else as_utf8(source.path.resolve().parent.name)


def _missing_hint(path: Path, given: str) -> str:
    """The next step after a missing file: the names that are there, or the nearest folder that exists."""
    if hub.is_address(given):
        return "name a model on the hub by its repository and quant, without the address: `OWNER/REPO:Q4_K_M`"
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if parent == path.parent:
        names = sorted(printable(p.name) for p in parent.glob("*.gguf"))
        if names:
            return f"GGUF files in `{printable(parent)}`: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}"
        return f"there is no GGUF file in `{printable(parent)}`"
    return f"the folder `{printable(path.parent)}` does not exist; `{printable(parent)}` does"
