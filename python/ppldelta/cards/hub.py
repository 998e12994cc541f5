"""`.eval_results/ppldelta.yaml`: the numbers in the form in which the Hugging Face hub takes evaluation results.

An entry has `dataset` with `id` and `task_id`, `value`, and perhaps `date`, `source` and `notes`
(huggingface.co/docs/hub/eval-results, and `huggingface_hub.EvalResultEntry`, as of 2026-11). The hub shows those whose
`id` names a dataset that is registered there as a benchmark, which a folder of documents is not: docs/card.md.
"""

from __future__ import annotations

import json
from pathlib import PurePath

from ppldelta.cards.content import CardModel, Content
from ppldelta.cards.drawing import shown
from ppldelta.reporting.rows import ends, number
from ppldelta.wording import numbers

_TASKS = {
    "gain": "nats per token",
    "loss": "nats per token",
    "delta": "nats per token, gain - loss",
    "kld": "nats per token",
    "same_top": "part of the tokens",
    "ppl_ratio": "perplexity of the model by that of the reference",
}
"""The columns of `schema.MODELS` that become entries, and their units."""

_OF_SPANS = {"gain_bpb": "bits per byte", "loss_bpb": "bits per byte", "delta_bpb": "bits per byte, gain - loss"}
"""Likewise where models are compared on spans of text, whose lengths differ."""

_HEAD = """\
# Evaluation results of ppldelta, to be laid into the folder `.eval_results` of a model's repository.
# The corpus is not a dataset on the hub as far as ppldelta knows: the hub shows an entry only if `id` names one that is
# registered as a benchmark (with an `eval.yaml`) and `task_id` one of its tasks. Keep the entries of the repository's
# own model, and add a `source` with an `url` that shows the results.
"""


def eval_results(content: Content) -> str:
    """The file.

    Args:
        content: of the card.
    """
    return _HEAD + "".join(
        _entry(model, name, unit)
        for model in content.models
        for name, unit in (_OF_SPANS if content.spans else _TASKS).items()
        if numbers.known(number(model.overall, name))
    )


def _entry(model: CardModel, name: str, unit: str) -> str:
    value = number(model.overall, name)
    low, high = ends(model.overall, name)
    corpus = PurePath(model.family.corpus).name if model.family.corpus else "unnamed"
    notes = f"{shown(model.facts.label)} against {shown(model.family.ref.label)}; {unit}"
    if numbers.known(low) and numbers.known(high):
        notes += f"; 95 % interval {low:.6g} to {high:.6g}"
    lines = [
        "- dataset:",
        f"    id: {_text(shown(corpus))}",
        f"    task_id: {_text(name)}",
        f"  value: {json.dumps(value)}",
        *([f"  date: {_text(model.family.date)}"] if model.family.date else []),
        f"  notes: {_text(notes)}",
    ]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """A text as YAML reads it in double quotes: as JSON writes it, in ASCII."""
    return json.dumps(text)
