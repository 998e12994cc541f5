"""What each comparison of a job is: a quant of the reference, or a finetune. The store remembers what was found."""

from __future__ import annotations

from ppldelta.console.progress import line
from ppldelta.engine.recognition import RULE, Recognition
from ppldelta.errors import ModelError
from ppldelta.run.job import Job, Participant
from ppldelta.wording.names import printable

_OTHER = Recognition("finetune", "its tokenizer is another one")
"""A comparison that has a tokenization of its own; `kind` is not asked, since nats per span are no damage."""


def recognised(work: Job) -> dict[str, Recognition]:
    """What each comparison is, by its label; a line for each says it where progress is shown.

    Nothing fails for it: if weights cannot be compared, it is not known what a comparison is.

    Raises:
        StoreError: the store fails.
    """
    reference, *comparisons = work.models
    found = {each.label: _recognised(work, reference, each) for each in comparisons}
    if work.progress:
        for label, each in found.items():
            line(f"{printable(label)}: {_in_words(each)}")
    return found


def as_set(kind: str) -> Recognition:
    """What the setting `kind` says, if it is not "auto": no weights are compared."""
    return Recognition(kind, f"as `kind` says, which was set to `{kind}`")


def as_sentence(found: Recognition) -> str:
    """The decision as `ModelFacts.kind_reason` says it."""
    words = _in_words(found)
    return f"{words[0].upper()}{words[1:]}."


def _recognised(work: Job, reference: Participant, comparison: Participant) -> Recognition:
    if not comparison.shares:
        return _OTHER
    if work.settings.kind != "auto":
        return as_set(work.settings.kind)
    if comparison.sha256 == reference.sha256:
        return Recognition("quant", "it has the same content")
    notes = work.store.notes if work.store else None
    if notes and (known := notes.kind(comparison.sha256, reference.sha256, RULE)):
        return Recognition(*known)
    try:
        found = reference.model.recognise(comparison.model)
    except ModelError as error:  # such as an end of the worker's process; evaluation goes on
        return Recognition(None, error.message)
    if notes and found.kind:
        notes.note_kind(comparison.sha256, reference.sha256, RULE, found.kind, found.reason)
    return found


def _in_words(found: Recognition) -> str:
    if found.kind is None:
        return f"not known to be a quant, and told as a finetune ({found.reason})"
    if found is _OTHER:
        return f"another model, and told as a finetune ({found.reason})"
    what = "a quant of the reference" if found.kind == "quant" else "a finetune, and no quant of the reference"
    return f"{what} ({found.reason})"
