"""Warnings about tokenizers: what makes a model read something else than the text says, or is a sign of another base.

Nothing is refused here; what splits the texts into other tokens is refused in `run.checks`. Of what a store of an
older version does not know of a model nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ppldelta.engine.info import ModelInfo, numbers_in
from ppldelta.run.tokenization import Tokenization
from ppldelta.run.tokenized import TokenizedDocument
from ppldelta.text.alignment import n_alike
from ppldelta.wording.names import counted, printable, quoted, some_of

Said = tuple[str, ModelInfo]
"""A model's label, and what it says of itself."""

_BYTE_PAIRS = ("gpt2", "hybriddna")
"""Tokenizers that first split a text by a pre-tokenizer, as llama.cpp's `llama_vocab::impl::load` has them."""
_NONE_NAMED = ("", "default")
"""What the files of models say that were converted without one; llama.cpp then takes its default."""
_SIGN = "yet it is a sign of another base or of training for chat"


def not_spelt(label: str, tokenization: Tokenization) -> list[str]:
    """A warning if some documents are not what their tokens spell.

    Args:
        label: of the model whose tokenization it is.
        tokenization: of the documents.
    """
    changed = [
        tokenization.documents[i]
        for some, bounds in tokenization.all_bounds()
        for i, own in zip(some, bounds, strict=True)
        if own is None
    ]
    if not changed:
        return []
    which = some_of([_change(each, tokenization.spelt(each)) for each in changed])
    of_all = f"{len(changed):,} of {counted(len(tokenization.documents), 'document')}"
    return [
        f"The tokens of `{printable(label)}` do not spell the text of {of_all}: {which}; its tokenizer changes or "
        "drops characters there, so that the numbers, bits per byte too, are those of the changed text, and where "
        "families meet these documents do not count."
    ]


def _change(each: TokenizedDocument, spelt: bytes) -> str:
    """A document's name, and what becomes of its bytes from the first that changes to the last."""
    text = each.document.text
    if spelt.startswith(b" ") and not text.startswith(b" "):
        spelt = spelt[1:]  # SentencePiece's, which belongs to no text
    old, new = np.frombuffer(text, np.uint8), np.frombuffer(spelt, np.uint8)
    before = n_alike(old, new)
    after = n_alike(old[before:][::-1], new[before:][::-1])
    n_old, n_new = len(old) - before - after, len(new) - before - after
    become = "nothing" if not n_new else f"{n_new:,} other{'' if n_new == 1 else 's'}"
    changed = f"{counted(n_old, 'byte')} {'becomes' if n_old == 1 else 'become'} {become}"
    return f"`{printable(each.document.name)}` (from byte {before:,} on, {changed})"


def no_pre_tokenizer(models: Iterable[Said]) -> list[str]:
    """A warning that names the models whose files do not say how a text is split before pairs are joined."""
    labels = [label for label, info in models if lacks_pre_tokenizer(info)]
    if not labels:
        return []
    files, models_are = ("file names", "model looks worse than it is") if len(labels) == 1 else (
        "files name", "models look worse than they are"
    )  # fmt: skip
    return [
        f"Of {quoted(labels)} the {files} no pre-tokenizer (`tokenizer.ggml.pre` is missing or `default`), as after "
        "conversions of before May 2024: llama.cpp then splits a text by a default rule, in other places than in "
        f"training, and the {models_are}; a newer conversion mends that."
    ]


def lacks_pre_tokenizer(info: ModelInfo) -> bool:
    """Whether a model that needs a pre-tokenizer is known to name none."""
    return info.tokenizer in _BYTE_PAIRS and info.pre_tokenizer in _NONE_NAMED


def unlike(reference: Said, comparisons: Sequence[Said], *, templates: bool = True) -> list[str]:
    """Warnings that name the comparisons whose pre-tokenizer, special tokens or chat template are not the reference's.

    Comparisons of which the same is to be said share a sentence. The rule for the beginning of a text is not among it
    (`run.checks.other_bos`), nor are chat templates if `templates` is false: where one is applied, `run.chats` speaks.
    """
    label, own = reference
    found: dict[str, list[str]] = {}
    for name, info in comparisons:
        of_chats = _chat_template(own, info) if templates else ""
        for finding in (_pre_tokenizer(own, info), _special_tokens(own, info), of_chats):
            if finding:
                found.setdefault(finding, []).append(name)
    return [
        f"{quoted(names)} {'has' if len(names) == 1 else 'have'} {finding.format(reference=quoted([label]))}."
        for finding, names in found.items()
    ]


def _pre_tokenizer(own: ModelInfo, info: ModelInfo) -> str:
    mine, yours = info.pre_tokenizer, own.pre_tokenizer
    if mine is None or yours is None or mine == yours or info.tokenizer not in _BYTE_PAIRS:
        return ""
    if lacks_pre_tokenizer(info) or lacks_pre_tokenizer(own):  # which is said of itself
        return ""
    return (
        f"the pre-tokenizer `{_literal(mine)}`, and {{reference}} has `{_literal(yours)}`: both split these texts "
        "alike, though perhaps not every text"
    )


def _special_tokens(own: ModelInfo, info: ModelInfo) -> str:
    differences = []
    if info.eos != own.eos:
        differences.append(f"its end of a text is {_token(info.eos)} instead of {_token(own.eos)}")
    if info.add_eos != own.add_eos:
        differences.append(f"it is {'' if info.add_eos else 'not '}put behind every text")
    if info.control is not None and own.control is not None:
        mine, yours = numbers_in(info.control), numbers_in(own.control)
        for others, have in ((np.setdiff1d(mine, yours), "more"), (np.setdiff1d(yours, mine), "fewer")):
            if len(others):
                tokens = some_of([str(token) for token in others.tolist()])
                differences.append(f"{counted(len(others), 'control token')} {have} ({tokens})")
    if not differences:
        return ""
    return (
        f"other special tokens than {{reference}} ({'; '.join(differences)}): no number of plain text depends on that, "
        f"{_SIGN}"
    )


def _chat_template(own: ModelInfo, info: ModelInfo) -> str:
    mine, yours = info.chat_template_sha256, own.chat_template_sha256
    if mine is None or yours is None or mine == yours:
        return ""
    what = "another chat template than {reference}" if mine and yours else (
        "a chat template, and {reference} has none" if mine else "no chat template, and {reference} has one"
    )  # fmt: skip
    return f"{what}: no number of plain text depends on the template, {_SIGN}"


def why_other_tokens(info: ModelInfo, own: ModelInfo) -> str | None:
    """What two files say that explains other tokens of the same text; None if they say nothing of the kind."""
    if lacks_pre_tokenizer(info) != lacks_pre_tokenizer(own):
        which = "the comparison's" if lacks_pre_tokenizer(info) else "the reference's"
        return f"{which} file names no pre-tokenizer, as after an old conversion: take a newer one of that model"
    if _pre_tokenizer(own, info):
        mine, yours = printable(info.pre_tokenizer or ""), printable(own.pre_tokenizer or "")
        return f"the comparison's file names the pre-tokenizer `{mine}`, the reference's `{yours}`"
    return None


def _token(token: int | None) -> str:
    return "none" if token is None else f"token {token}"


def _literal(text: str) -> str:
    """A text of a file in what is formatted later."""
    return printable(text).replace("{", "{{").replace("}", "}}")
