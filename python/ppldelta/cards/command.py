"""The command that gives a family's numbers, put together from what the result says of its models and settings."""

from __future__ import annotations

import shlex
from pathlib import PurePath

from ppldelta.cards.content import Content
from ppldelta.cards.drawing import shown
from ppldelta.family import Family, Signature
from ppldelta.reporting.provenance import model_name
from ppldelta.reporting.rows import number
from ppldelta.wording import numbers

_FLAGS = {
    "windows": "--windows",
    "n_ctx": "-c",
    "max_windows": "--chunks",
    "n_ubatch": "-ub",
    "n_gpu_layers": "-ngl",
}
"""Flags of `ppldelta score` for the signature's parts."""

_MEANS_NOTHING = {("max_windows", "all"), ("n_gpu_layers", "0")}


def command(content: Content, family: Family) -> str:
    """A line for a shell: files without their folders, names on the hub as they were given.

    Args:
        content: of the card, which says what was asked for beside the settings.
        family: whose numbers.
    """
    words = ["ppldelta", "score"]
    if family.signature.get("reference") != "kld" and family.corpus:
        words.append(PurePath(family.corpus).name)
    words += ["--ref", model_name(family.ref)]
    for facts in family.cmp:
        named = model_name(facts)
        labelled = not facts.adapters and PurePath(named.split(":")[-1]).stem != facts.label
        words += ["--cmp", f"{facts.label}={named}" if labelled else named]
    for part, flag in _FLAGS.items():
        value = family.signature.get(part)
        if value is not None and (part, value) not in _MEANS_NOTHING:
            words += [flag, value]
    if family.align != "tokens":  # which is no part of a signature
        words += ["--align", family.align]
    template = without_folders(family.signature).get("chat_template")
    if template is not None:
        words += ["--chat-template"] if template == "True" else ["--chat-template-file", template.rsplit("@", 1)[0]]
    if content.top_k.get(family.name):  # --top-k includes --kld
        words += ["--top-k", str(content.top_k[family.name])]
    elif any(numbers.known(number(model.overall, "kld")) for model in content.of(family)):
        words.append("--kld")
    if family.noise:
        words.append("--noise-floor")
    return " ".join(shlex.quote(shown(word)) for word in [*words, "-o", "out"])


def without_folders(signature: Signature) -> Signature:
    """The same, with the file of a chat template named without the folders of a machine."""
    template = signature.get("chat_template")
    return signature if template is None else Signature.of({**signature, "chat_template": PurePath(template).name})
