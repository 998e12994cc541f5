"""Names of models on the Hugging Face hub: `OWNER/REPO[@REVISION][:QUANT|:FILE.gguf]`, and which files one means.

The rule is that of the pinned llama.cpp's `-hf` (`find_best_model` in its common/download.cpp), with one difference: a
quant is a whole word of the file's name here, so that `F16` never means a BF16 file. No network is used here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ppldelta.errors import ModelError
from ppldelta.models.source import SPLIT, part_names, part_number
from ppldelta.wording.names import printable, quoted

_ID = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_NAME = re.compile(
    rf"(?P<repo>{_ID}/{_ID})(?:@(?P<early>[^\s:@]+))?(?::(?P<pick>[^:@]+))?(?:@(?P<late>[^\s:@]+))?", re.ASCII
)
_ADDRESS = re.compile(r"(?:https?|hf)://|(?:www\.)?(?:hf\.co|huggingface\.co)/", re.IGNORECASE)
_BY_DEFAULT = ("Q4_K_M", "Q8_0")
_NO_MODEL = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
"""Words in the names of files that go with a model and are not one themselves."""
_TAG = re.compile(r"[-.]([A-Z0-9_]+)$", re.IGNORECASE)
_MOST_LISTED = 16


@dataclass(frozen=True)
class HubName:
    """A model on the hub, as a user names it.

    Attributes:
        repo: `OWNER/REPO`.
        pick: a quant, or the path of a file in the repository; None for the default.
        revision: branch, tag or commit; None for the main branch.
    """

    repo: str
    pick: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repo + revision + (f":{self.pick}" if self.pick else "")

    @property
    def names_a_file(self) -> bool:
        """Whether it says which file, not only which quant."""
        return self.pick is not None and self.pick.lower().endswith(".gguf")


def parse(text: str) -> HubName | None:
    """The name that a text is; None for what can only be a path.

    `models/base.gguf` is a path, `models/base` may be both: whoever calls looks for a file first.

    Raises:
        ModelError: it names two revisions.
    """
    found = _NAME.fullmatch(text)
    if not found or "--" in found["repo"] or ".." in found["repo"]:
        return None
    if found["repo"].lower().endswith(".gguf") and not found["pick"]:
        return None
    if found["early"] and found["late"]:
        raise ModelError(
            f"`{printable(text)}` names two revisions, `{found['early']}` and `{found['late']}`",
            hint=f"leave one of them out: `{found['repo']}@{found['early']}:{found['pick']}`",
        )
    return HubName(found["repo"], found["pick"], found["early"] or found["late"])


def is_address(text: str) -> bool:
    """Whether a text is an address on the hub (`https://…`, `hf.co/…`) instead of a name."""
    return _ADDRESS.match(text) is not None


def choose(name: HubName, paths: Sequence[str]) -> list[str]:
    """The files that a name means, of those in its repository.

    Files that go with a model and are not one themselves (projectors for images, importance matrices, draft models) are
    never taken.

    Args:
        name: a name on the hub.
        paths: all files of the repository, in its order.

    Returns:
        The model's file; of a model in several files all parts in order.

    Raises:
        ModelError: there is no such file, no GGUF file of such a quant, no GGUF file at all, or parts are missing.
    """
    models = [path for path in paths if _is_model(path)]
    if not models:
        raise _no_gguf(name, paths)
    if name.names_a_file:
        first = _named(name, paths, models)
    else:
        firsts = [path for path in models if part_number(path) == 1]
        wanted = (name.pick,) if name.pick else _BY_DEFAULT
        fitting = [path for quant in wanted for path in firsts if _has_quant(path, quant)]
        if not name.pick:
            fitting += firsts
        if not fitting:
            raise ModelError(
                f"the repository `{name.repo}` has no GGUF file of the quant `{printable(name.pick or '')}`",
                hint=f"it has {quoted(_quants(models), _MOST_LISTED)}",
            )
        first = fitting[0]
    parts = part_names(first)
    if missing := [path for path in parts if path not in paths]:
        raise ModelError(
            f"the repository `{name.repo}` lacks a part of this model: `{printable(missing[0])}`",
            hint="name another quant or revision",
        )
    return parts


def _is_model(path: str) -> bool:
    file = path.rpartition("/")[2]
    return file.endswith(".gguf") and not any(word in file for word in _NO_MODEL)


def _has_quant(path: str, quant: str) -> bool:
    """As llama.cpp looks for it, but for the left end: it would find F16 in BF16."""
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(quant)}[.-]", path, re.IGNORECASE) is not None


def _named(name: HubName, paths: Sequence[str], models: Sequence[str]) -> str:
    """
    Raises:
        ModelError: there is no such file, or it is no model's first.
    """
    path = name.pick or ""
    if path not in paths:
        firsts = [each for each in models if part_number(each) == 1]
        raise ModelError(
            f"the repository `{name.repo}` has no file `{printable(path)}`",
            hint=f"it has {quoted(firsts, _MOST_LISTED)}",
        )
    if not _is_model(path):
        raise ModelError(
            f"`{printable(path)}` in the repository `{name.repo}` goes with a model and is not one itself",
            hint=f"name the model: {quoted([each for each in models if part_number(each) == 1], _MOST_LISTED)}",
        )
    if part_number(path) != 1:
        raise ModelError(
            f"`{printable(path)}` is part {part_number(path)} of a split model",
            hint=f"name the first part: `{name.repo}:{part_names(path)[0]}`",
        )
    return path


def _quants(models: Sequence[str]) -> list[str]:
    """What the files' names end in, each once; the names themselves if one ends in nothing of that kind."""
    firsts = [path for path in models if part_number(path) == 1]
    tags = [_TAG.search(SPLIT.sub("", path).removesuffix(".gguf")) for path in firsts]
    if not all(tags):
        return firsts
    return list(dict.fromkeys(tag[1].upper() for tag in tags if tag))


def _no_gguf(name: HubName, paths: Sequence[str]) -> ModelError:
    if any(path.endswith((".safetensors", ".bin", ".pth")) for path in paths):
        hint = (
            f"it holds weights of another format; name a repository with a GGUF conversion of it (many are called "
            f"`…/{name.repo.partition('/')[2]}-GGUF`), or convert it with llama.cpp's convert_hf_to_gguf.py"
        )
    elif others := [path for path in paths if path.endswith(".gguf")]:
        hint = f"{quoted(others, _MOST_LISTED)} goes with a model and is not one itself; "
        hint += "name the repository that has the model"
    else:
        hint = "name a repository with GGUF files"
    return ModelError(f"the repository `{name.repo}` has no GGUF file of a model", hint=hint)
