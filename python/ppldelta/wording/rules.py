"""What is said of the two window rules: the one home of it, for help, errors, terminal, report and docs.

`text/windows.py` has the rules themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

RULES = ("every", "perplexity")
"""Names of the window rules, of which ``windows=`` takes one."""

DEFAULT_RULE = "every"
"""The rule if none is asked for, unless the reference is a `.kld` file: that was made by llama-perplexity's rule."""

DIFFERENCE = (
    "`every` scores each token of a document once, `perplexity` only those in the second half of each window, as "
    "llama-perplexity does; these have more text before them, so that its perplexities are mostly lower"
)
"""What each rule scores, and why their numbers differ: what follows a colon. A test holds that the docs say it too."""


COMMON_BYTES = "The families are compared on the "
"""How the sentence begins that says on which bytes several families are compared."""


def is_note(warning: str) -> bool:
    """Whether a sentence among the warnings of a result says how its numbers came to be, and names no fault."""
    return warning.startswith(COMMON_BYTES)


def notes(followed: Iterable[tuple[str, str | None]]) -> list[str]:
    """Which window rule numbers follow, and why the other one gives others: one sentence, or none if no rule is known.

    Args:
        followed: the name of each family, and the rule in its signature.
    """
    families: dict[str, list[str]] = {}
    for family, rule in followed:
        if rule is not None:
            families.setdefault(rule, []).append(f"`{family}`")
    if not families:
        return []
    if len(families) == 1:
        return [f"These numbers follow the window rule `{next(iter(families))}`: {DIFFERENCE}."]
    told = [
        f"{' and '.join(names)} {'follows' if len(names) == 1 else 'follow'} the window rule `{rule}`"
        for rule, names in families.items()
    ]
    return [f"{', '.join(told)}: {DIFFERENCE}."]
