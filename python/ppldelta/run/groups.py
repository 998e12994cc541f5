"""Warnings about groups of completions of which nobody can say how probable one label is against the other."""

from __future__ import annotations

from collections.abc import Sequence

from ppldelta.contrasts import contained, contrast
from ppldelta.run.tokenization import Tokenization
from ppldelta.text.document import Document
from ppldelta.wording.names import counted, printable, quoted, some_of


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
    alike = _alike(labels)
    if pair is None:
        named = quoted(sorted(labels))
        return [
            *alike,
            f"There are no log-odds: they need a `group` with completions of two labels, and there is {named}.",
        ]
    both = f"`{printable(pair.label)}` and `{printable(pair.against)}`"
    warnings = alike
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


def repeated(tokenization: Tokenization) -> list[str]:
    """A sentence on completions that have no part in log-odds (`analysis.odds`), being counted in another one already.

    Args:
        tokenization: the reference's.
    """
    texts = tokenization.texts
    pair = contrast(each.label for each in texts if each.group is not None)
    if pair is None:
        return []
    asked = [i for i, each in enumerate(texts) if each.group is not None and each.label in pair]
    tokens = tokenization.documents.tokens
    begins = tokenization.windows.pos[tokenization.scored[asked]].tolist()
    answers = [
        ((texts[i].group, texts[i].label, begin), tokens[i].tobytes()) for i, begin in zip(asked, begins, strict=True)
    ]
    found = sorted(contained(answers).items())
    if not found:
        return []
    said = [
        f"`{printable(texts[asked[i]].name)}` {'repeats' if answers[i] == answers[kept] else 'begins with'} "
        f"`{printable(texts[asked[kept]].name)}`"
        for i, kept in found
    ]
    verb = "has" if len(found) == 1 else "have"
    return [
        f"{counted(len(found), 'completion')} {verb} no part in the log-odds, whose probability is counted in another "
        f"one's of the same prompt and label already: {some_of(said)}."
    ]


def _alike(labels: set[str]) -> list[str]:
    """A sentence on labels that differ in nothing but case and white space."""
    same: dict[str, list[str]] = {}
    for label in sorted(labels, key=lambda label: (label != label.strip().lower(), label)):
        same.setdefault(label.strip().casefold(), []).append(label)
    said = [
        f"is {quoted(others)} meant as `{printable(first)}`?" for first, *others in same.values() if others
    ]  # the first is the plainest
    if not said:
        return []
    return [f"Labels that differ only in case or white space count as different ones: {some_of(said)}"]
