"""Whether what is to be applied to a model is an adapter at all, and one for this model, by the heads of their files.

llama.cpp says that too, but only when a model is loaded with its adapters, after the reference has been evaluated, and
of a control vector with layers that the model lacks it says nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from ppldelta.errors import ModelError
from ppldelta.models.header import Header, Shape, read_header
from ppldelta.models.source import ModelSource
from ppldelta.wording.names import counted, printable

Kind = Literal["LoRA", "control vector"]
"""What can be applied to a model."""

CONTROL_VECTOR = "controlvector"
"""`general.architecture` of a control vector, as llama.cpp's cvector-generator and repeng write it."""

_DIRECTION = re.compile(r"direction\.(\d+)")
_LORA = re.compile(r"(?P<tensor>.*)\.lora_(?P<side>[ab])", re.DOTALL)
_TO_DO = (
    "behind `+` name a LoRA (llama.cpp's convert_lora_to_gguf.py makes it) or a control vector (its cvector-generator "
    "does), in GGUF"
)


def kind_of(path: Path) -> Kind:
    """What an adapter's file holds.

    Raises:
        ModelError: it cannot be read, or holds neither.
    """
    return _kind(path, read_header(path))


def directions(path: Path, header: Header | None = None) -> dict[str, int]:
    """The tensors of a control vector, by name, and the layer that each belongs to.

    Raises:
        ModelError: the file cannot be read, or a tensor is not what llama.cpp takes for a direction.
    """
    header = header or read_header(path)
    shown = f"the control vector `{printable(path)}`"
    found = {}
    for name, shape in header.tensors.items():
        match = _DIRECTION.fullmatch(name)
        if not match or int(match[1]) == 0 or len(shape.sizes) != 1 or not shape.is_f32:
            raise ModelError(
                f"{shown} has the tensor `{printable(name)}`, which is no direction of float32 for a layer from 1 on",
                hint="make it anew with llama.cpp's cvector-generator",
            )
        found[name] = int(match[1])
    if not found:
        raise ModelError(f"{shown} holds no direction", hint="make it anew with llama.cpp's cvector-generator")
    if len({header.tensors[name].sizes for name in found}) > 1:
        raise ModelError(f"the directions of {shown} differ in length", hint="they must be of one model")
    return found


def refuse_unfit(source: ModelSource) -> None:
    """Refuses a model whose adapters are not for it.

    Raises:
        ModelError: a file cannot be read, is no adapter, or is one for another model.
    """
    if not source.adapters:
        return
    own = read_header(source.path)
    tensors = {name: shape for part in source.parts for name, shape in read_header(part).tensors.items()}
    for path in dict.fromkeys(each.path for each in source.adapters):
        header = read_header(path)
        if _kind(path, header) == "LoRA":
            _refuse_other_lora(path, header, source.path, own.text("general.architecture"), tensors)
        else:
            _refuse_other_vector(path, header, source.path, own)


def _kind(path: Path, header: Header) -> Kind:
    architecture, type = header.text("general.architecture"), header.text("general.type")
    if architecture == CONTROL_VECTOR:
        return "control vector"
    if type == "adapter":
        if (adapter := header.text("adapter.type")) != "lora":
            raise ModelError(
                f"`{printable(path)}` is an adapter of the type `{printable(adapter)}`, not a LoRA", hint=_TO_DO
            )
        if header.metadata.get("adapter.alora.invocation_tokens"):
            raise ModelError(
                f"the LoRA `{printable(path)}` is activated by certain tokens, and changes only what follows them",
                hint="texts have no such tokens: use a plain LoRA",
            )
        return "LoRA"
    is_model = header.number(f"{architecture}.block_count") is not None
    it_is = f"it is a model ({printable(architecture)})" if is_model else f"its `general.type` is `{printable(type)}`"
    raise ModelError(f"`{printable(path)}` is neither a LoRA nor a control vector: {it_is}", hint=_TO_DO)


def _refuse_other_lora(path: Path, header: Header, model: Path, architecture: str, tensors: dict[str, Shape]) -> None:
    """As llama.cpp's `llama_adapter_lora_init` does; what it leaves out (changes of norms) is left out here."""
    shown, base = f"the LoRA `{printable(path)}`", f"`{printable(model)}`"
    if (made_for := header.text("general.architecture")) != architecture:
        raise ModelError(
            f"{shown} was made for the architecture {printable(made_for)}, and {base} is {printable(architecture)}",
            hint="name the model that it was made for, in any quantisation",
        )
    pairs: dict[str, dict[str, Shape]] = {}
    for name, shape in header.tensors.items():
        if match := _LORA.fullmatch(name):
            pairs.setdefault(match["tensor"], {})[match["side"]] = shape
        elif not name.endswith("_norm.weight"):
            raise ModelError(f"{shown} has the tensor `{printable(name)}`, which is no part of a LoRA", hint=_TO_DO)
    if not pairs:
        raise ModelError(f"{shown} changes no matrix", hint="convert it again with convert_lora_to_gguf.py")
    for name, pair in pairs.items():
        if len(pair) < 2:
            raise ModelError(f"{shown} has half of its change of `{printable(name)}`", hint="convert it again")
        a, b = _matrix(pair["a"]), _matrix(pair["b"])
        changed = (b[1], a[1]) if name.endswith("token_embd.weight") else (a[0], b[1])
        own = tensors.get(name)
        if own is None or _matrix(own) != changed:
            has = "does not have" if own is None else f"has with {_shown(_matrix(own))}"
            raise ModelError(
                f"{shown} changes `{printable(name)}` of {_shown(changed)} values, which {base} {has}",
                hint="name the model that it was made for, in any quantisation",
            )


def _refuse_other_vector(path: Path, header: Header, model: Path, own: Header) -> None:
    shown, base = f"the control vector `{printable(path)}`", f"`{printable(model)}`"
    layers = directions(path, header)
    architecture = own.text("general.architecture")
    width = header.tensors[next(iter(layers))].sizes[0]
    n_embd, n_layer = own.number(f"{architecture}.embedding_length"), own.number(f"{architecture}.block_count")
    if n_embd is not None and width != n_embd:
        raise ModelError(
            f"{shown} has {counted(width, 'value')} a layer, and {base} has {n_embd:,}",
            hint="name the model that it was made for, in any quantisation",
        )
    if n_layer is None:
        return
    n_layer -= own.number(f"{architecture}.nextn_predict_layers") or 0
    if (last := max(layers.values())) >= n_layer:
        raise ModelError(
            f"{shown} has a direction for layer {last}, and the last layer of {base} is {n_layer - 1}",
            hint="name the model that it was made for, in any quantisation",
        )


def _matrix(shape: Shape) -> tuple[int, ...]:
    """The first two sizes; a dimension that is not there has one value."""
    return (*shape.sizes, 1, 1)[:2]


def _shown(sizes: tuple[int, ...]) -> str:
    return " × ".join(map(str, sizes))
