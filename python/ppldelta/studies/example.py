"""The commented example that `ppldelta init` writes; its settings are those that there are."""

from __future__ import annotations

from dataclasses import fields

from ppldelta.run.settings import SETTINGS, Settings

_HEAD = """\
# A study: one corpus, and families of models, each judged against its reference.
# Run it with `ppldelta study {name}`. Paths are relative to this file.

corpus = "corpus/"  # a folder, a glob, or a list of paths; the first folder level gives the categories
output = "results"  # gets report.html, the tables as parquet, and run.json
# store = "here.sqlite"  # what was evaluated is kept in your cache folder unless you name a file, or say false

[[families]]
ref = "models/base.Q8_0.gguf"
cmp = ["models/heretic.Q8_0.gguf", "models/base.Q4_K_M.gguf"]

# As many families as you like; a name, and labels for the comparisons, are up to you.
# [[families]]
# name = "the other family"
# ref = "models/other.gguf"
# cmp = {{ careful = "models/other-finetune-a.gguf", bold = "models/other-finetune-b.gguf" }}

[settings]  # the same for all families; what stands here are the defaults
"""


def example(name: str) -> str:
    """A study as a TOML text; `name` is that of its file."""
    lines = []
    for each in fields(Settings):
        default = each.default
        if default is None:
            shown = "…"
        elif isinstance(default, bool):
            shown = str(default).lower()
        else:
            shown = f'"{default}"' if isinstance(default, str) else str(default)
        lines.append(f"# {each.name} = {shown}  # {SETTINGS[each.name].help.replace(' (default: %(default)s)', '')}")
    return _HEAD.format(name=name) + "\n".join(lines) + "\n"
