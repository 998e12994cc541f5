"""`ppldelta look`: its flags, and what it does."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import ppldelta
from ppldelta.commands import flags
from ppldelta.console import terminal
from ppldelta.errors import CorpusError
from ppldelta.run.looking import N_COLUMNS, N_TOKENS
from ppldelta.run.settings import Settings
from ppldelta.wording.names import printable

_FILE_NAME = re.compile(r"\S*[/\\]\S*|\S+\.[A-Za-z0-9]{1,5}")
"""What one word looks like that is meant to be a file."""


def add_flags(look: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    look.add_argument("model", metavar="MODEL", help="a GGUF file, or a name on the Hugging Face hub, as for `score`")
    look.add_argument("text", metavar="TEXT", help="a file, or the text itself")
    look.add_argument("--cmp", metavar="MODEL", help="another model, shown beside the first one and subtracted from it")
    look.add_argument(
        "-o", "--output", metavar="FILE|FOLDER", type=Path, default=Path("look.html"),
        help="the page to write, or where the name does not end in .html a folder for the page, its arrays (look.npz) "
        "and its tables (default: %(default)s)",
    )  # fmt: skip
    look.add_argument(
        "--columns", metavar="K|FROM:TO", type=_columns, default=N_COLUMNS,
        help="tokens of the vocabulary: the K that matter most, or those from one id up to another, such as 0:2000 for "
        "a corner of the matrix (default: %(default)s)",
    )  # fmt: skip
    look.add_argument(
        "-n", "--n-tokens", dest="n_tokens", metavar="N", type=int, default=N_TOKENS,
        help="at most so many tokens of the text, from its beginning (default: %(default)s)",
    )  # fmt: skip
    for name in ("n_ctx", "n_ubatch", "threads", "n_gpu_layers"):
        flags.add_setting(look, name, getattr(Settings, name))
    look.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(options: argparse.Namespace) -> int:
    """Looks, writes, and says what there is to see."""
    found = ppldelta.look(
        options.model,
        _text(options.text),
        options.cmp,
        columns=options.columns,
        n_tokens=options.n_tokens,
        n_ctx=options.n_ctx,
        n_ubatch=options.n_ubatch,
        threads=options.threads,
        n_gpu_layers=options.n_gpu_layers,
        progress=not options.quiet,
    )
    for warning in found.warnings:
        terminal.say(f"warning: {warning}")
    one_file = options.output.suffix.lower() in (".html", ".htm")
    page = found.html(options.output) if one_file else found.save(options.output) / "look.html"
    terminal.show(f"{found}\n\npage: {printable(page)}")
    return 0


def _text(given: str) -> str | Path:
    """A file if there is one of that name, else the text itself; one word that looks like a file's name is no text.

    Raises:
        CorpusError: there is no such file.
    """
    if len(given) < 4096 and os.path.exists(given):
        return Path(given)
    if _FILE_NAME.fullmatch(given):
        raise CorpusError(
            f"`{printable(given)}` does not exist", hint="name a file, or give a text of more than one word"
        )
    return given


def _columns(text: str) -> int | range:
    number, colon, end = text.partition(":")
    if number.isdecimal() and (end.isdecimal() if colon else int(number) > 0):
        return range(int(number), int(end)) if colon else int(number)
    raise argparse.ArgumentTypeError(f"must be a number from 1 on, or FROM:TO, got `{text}`")
