"""Writes docs/settings.md from the fields of ppldelta/run/settings.py and the text on each argument of `score`."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import ppldelta
from ppldelta.run.settings import SETTINGS, ResolvedSettings, Setting, Settings

DECIDES = {
    "numbers": "each token's number",
    "tokens": "which tokens are scored",
    "columns": "what there is beside the numbers",
    "rows": "what log-probabilities are summed over",
    "words": "how the report tells of a comparison",
    "speed": "time and memory",
}
"""What `Setting.decides` means, for people."""


def arguments() -> dict[str, str]:
    """What `score`'s docstring says of each argument, as one line."""
    text = inspect.getdoc(ppldelta.score) or ""
    (section,) = re.findall(r"^Args:\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section, re.MULTILINE)
    return {name: " ".join(about.split()) for name, about in found}


def values(known: Setting, default: object) -> str:
    """What a setting may be."""
    if known.file:
        return "`True`, `False`, or the path of a file (`--chat-template-file`)"
    if default is False:
        return "`True`, `False`"
    if known.choices:
        return ", ".join(f"`{choice}`" for choice in known.choices)
    return f"at least {known.least}" if known.most is None else f"{known.least} to {known.most}"


def flags(known: Setting) -> str:
    """A setting's flags, and what they take for the default."""
    shown = ", ".join(f"`{flag}`" for flag in known.flags)
    words = " or ".join(f"`{word}`" for word in known.words)
    return f"{shown} ({words} for the default)" if words else shown


def page() -> str:
    """The page, as it should lie in docs/settings.md."""
    about = arguments()
    asked = [
        f"| `{each.name}` | {flags(SETTINGS[each.name])} | `{each.default!r}` "
        f"| {values(SETTINGS[each.name], each.default)} | {DECIDES[SETTINGS[each.name].decides]} | {about[each.name]} |"
        for each in fields(Settings)
    ]
    resolved = [
        f"| `{each.name}` | {values(SETTINGS[each.name], each.default)} | {SETTINGS[each.name].help} |"
        for each in fields(ResolvedSettings)
        if "setting" in each.metadata
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            "<!-- written by docs/make_settings.py; a test holds that it is current -->",
            "",
            "`ppldelta.score` and `ppldelta.plan` take them by name, `ppldelta score` by flag.",
            "",
            "| setting | flag | default | values | decides | meaning |",
            "|---|---|---|---|---|---|",
            *asked,
            "",
            "What decides each token's number is part of the signature and of the key under which the store keeps a",
            "window; what decides which tokens are scored is part of the signature alone. The following parts of both",
            "follow from these settings, the reference, and the build that evaluates:",
            "",
            "| part of the signature | values | meaning |",
            "|---|---|---|",
            *resolved,
            "",
            "Beside them the signature names the versions of ppldelta, of llama.cpp and of the patches to it, the",
            "backends, and the kernels that compute.",
            "",
        ]
    )


if __name__ == "__main__":
    (Path(__file__).parent / "settings.md").write_text(page(), encoding="utf-8")
