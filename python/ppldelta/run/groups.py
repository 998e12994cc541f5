"""Warnings about groups of completions of which nobody can say how probable one label is against the other."""

from __future__ import annotations

from collections.abc import Sequence

from ppldelta.contrasts import contrast
from ppldelta.text.document import Document
from ppldelta.wording.names import counted, printable, quoted


def incomplete(documents: Sequence[Document]) -> list[str]:
    """Sentences on labels that are not compared, groups without both, and labels without a group; none if no document
    has a label.

    Args:
        documents: of the corpus.
    """
    labels = {each.label for each in documents if each.label is not None}
    if not labels:
        return []
    pair = contrast(each.label for each in documents if each.group is not None)
    if pair is None:
        named = quoted(sorted(labels))
        return [f"There are no log-odds: they need a `group` with completions of two labels, and there is {named}."]
    both = f"`{printable(pair.label)}` and `{printable(pair.against)}`"
    warnings = []
    if others := sorted(labels.difference(pair)):
        named = quoted(others)
        warnings.append(f"Log-odds are those of {both}; completions of {named} have no part in them.")
    there: dict[str, set[str]] = {}
    asked: dict[str, set[bytes]] = {}
    alone: list[str] = []
    for each in documents:
        if each.group is not None:
            there.setdefault(each.group, set()).update({each.label} if each.label in pair else ())
            asked.setdefault(each.group, set()).add(each.text[: each.prompt_bytes])
        elif each.label in pair:
            alone.append(each.name)
    if lacking := [group for group, mine in there.items() if len(mine) < 2]:
        named = quoted(lacking)
        verb = "lacks" if len(lacking) == 1 else "lack"
        warnings.append(
            f"{counted(len(lacking), 'group')} of {len(there):,} {verb} a completion of one of the labels {both}, and "
            f"{'has' if len(lacking) == 1 else 'have'} no log-odds: {named}."
        )
    if several := [group for group, prompts in asked.items() if len(prompts) > 1]:
        warnings.append(
            f"The completions of {counted(len(several), 'group')} do not follow one and the same prompt, so that their "
            f"log-odds compare different questions: {quoted(several)}."
        )
    if alone:
        named = quoted(alone)
        verb = "has a label and no `group`" if len(alone) == 1 else "have a label and no `group`"
        warnings.append(f"{counted(len(alone), 'document')} {verb}, without which nothing is set against it: {named}.")
    return warnings
