"""The command line's arguments: llama.cpp's names where it has the flag, checked where argparse can name the flag."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

import ppldelta
from ppldelta.console import terminal
from ppldelta.engine import rpc
from ppldelta.reporting.budget import DEFAULT_VIEWS
from ppldelta.run.settings import INT_MAX, SETTINGS, Settings
from ppldelta.wording.names import escaped

PROGRAMS = {
    "perplexity": ("llama-perplexity", "the patched llama-perplexity, with all its own flags"),
    "rpc-server": (
        "ggml-rpc-server",
        "lends this machine's devices to `ppldelta score --rpc` elsewhere; see its --help",
    ),
}
"""Programs of llama.cpp that the package carries, by the name of the command that runs each."""


def parser() -> argparse.ArgumentParser:
    """The parser; `command` in what it reads is the command's name, `wrong_use` ends the process with status 2."""
    root = _Parser(
        prog="ppldelta",
        description="What did a change do to a GGUF language model? Gain and loss against a reference, token by token.",
    )
    root.add_argument("--version", action="version", version=f"ppldelta {ppldelta.__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = _Parser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="show log lines, llama.cpp's included, on stderr")
    for add in (_add_score, _add_report, _add_verify, _add_demo, _add_store, _add_doctor):  # as the help lists them
        add(commands, common)
    for name, (_, what) in PROGRAMS.items():
        commands.add_parser(name, help=what, add_help=False)
    return root


class _Parser(argparse.ArgumentParser):
    """A parser that echoes no control characters of what was given, and writes as all commands do."""

    def error(self, message: str) -> NoReturn:
        super().error(escaped(message))

    def _print_message(self, message: str, file: object = None) -> None:
        to_stdout = file is sys.stdout
        if message:
            terminal.write(message, sys.stdout if to_stdout else sys.stderr)


def _add_score(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    score = commands.add_parser(
        "score",
        parents=[common],
        help="compare models with a reference on documents",
        description="Compares models with a reference, token by token, and writes a report and tables into a folder.",
    )
    corpus = score.add_argument(
        "corpus",
        nargs="+",
        metavar="CORPUS",
        help="a folder, files, or a quoted glob; a document's category is its first folder. None with a .kld file as "
        "--ref, which brings its own tokens",
    )
    corpus.required = False  # with nargs="*" argparse takes none where flags come first, and refuses what follows them
    score.add_argument(
        "--ref",
        required=True,
        metavar="GGUF|KLD",
        help="the reference model, or its log-probabilities as `ppldelta perplexity --save-all-logits` wrote them",
    )
    score.add_argument(
        "--cmp",
        required=True,
        action="append",
        metavar="[LABEL=]GGUF",
        help="a comparison model (with a .kld file as --ref also another one); may be given several times",
    )
    score.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        help="folder for report.html, parquet tables and run.json; needed except for a dry run",
    )
    score.add_argument(
        "--dry-run",
        action="store_true",
        help="show what there is to do, what the store has of it, and how long the rest will take; score nothing",
    )
    for each in fields(Settings):
        _add_setting(score, each.name, each.default)
    score.add_argument(
        "--rpc",
        metavar="HOST:PORT[,...]",
        help="use the devices of `ppldelta rpc-server` on other machines like GPUs of this one (default: what "
        f"{rpc.VARIABLE} names); {rpc.WARNING}",
    )
    score.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="evaluate on the workers of the Dask cluster whose scheduler is there, such as tcp://HOST:8786; they need "
        "the same ppldelta, and the model files under the same paths",
    )
    _add_store_flags(score)
    _add_tokens_flag(score)
    score.add_argument(
        "--strict",
        action="store_true",
        help="end with status 1 also if a document or a folder was left out, as for a comparison that failed",
    )
    score.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    score.set_defaults(command="score", wrong_use=score.error)


def _add_report(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    report = commands.add_parser(
        "report",
        parents=[common],
        help="draw saved results again, several into one report",
        description="Draws one report of saved results.",
    )
    report.add_argument("results", nargs="+", metavar="OUT", help="folders that `ppldelta score -o` wrote")
    report.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE|FOLDER",
        type=Path,
        help="what to write: one file where the name ends in .html, else a folder with an index.html",
    )
    _add_tokens_flag(report)
    report.set_defaults(command="report")


def _add_verify(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    verify = commands.add_parser(
        "verify",
        parents=[common],
        help="see whether saved results are as they were saved",
        description="Compares every file of saved results with the hashes in their run.json, a line for each folder. "
        "Status 1 if anything differs.",
    )
    verify.add_argument("results", nargs="+", metavar="OUT", help="folders that `ppldelta score -o` wrote")
    verify.set_defaults(command="verify")


def _add_demo(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    show = commands.add_parser(
        "demo",
        parents=[common],
        help="compare four tiny models on 36 short documents, all in the package",
        description="Runs the main job on the models and documents that the package carries, and shows the report.",
    )
    show.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        default=Path("ppldelta-demo"),
        help="folder to write (default: %(default)s)",
    )
    _add_store_flags(show)
    show.add_argument("--no-open", action="store_true", help="do not open the report in a browser")
    show.set_defaults(command="demo")


def _add_store(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    store = commands.add_parser(
        "store",
        parents=[common],
        help="show or prune what was computed before and is kept",
        description="Shows what the store holds of each model, or removes some of it. What is removed is computed "
        "again when it is needed.",
    )
    store.add_argument(
        "action", nargs="?", choices=("show", "prune"), default="show", help="what to do (default: %(default)s)"
    )
    store.add_argument(
        "--store",
        metavar="PATH",
        type=Path,
        help="the file (default: $PPLDELTA_STORE, else in the user's cache folder)",
    )
    which = store.add_argument_group("prune", "one of these says what to remove").add_mutually_exclusive_group()
    which.add_argument(
        "--older-than",
        dest="older_than_days",
        metavar="DAYS",
        type=_not_negative,
        help="what no run has used for so many days",
    )
    which.add_argument(
        "--model", metavar="SHA_OR_NAME", help="one model: its sha256's first digits, or its file's name"
    )
    which.add_argument(
        "--max-size",
        dest="max_mb",
        metavar="MB",
        type=_not_negative,
        help="as much as makes the file this small, what was not used for longest first",
    )
    which.add_argument("--all", dest="everything", action="store_true", help="everything")
    store.set_defaults(command="store", wrong_use=store.error)


def _add_doctor(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    examine = commands.add_parser(
        "doctor",
        parents=[common],
        help="say what this build can do on this machine, and whether its kernels compute right",
        description="Shows versions, devices and CPU features, and multiplies with weights of every type on every "
        "device, each type in a process of its own. Ends with 1 if something crashes or comes out wrong.",
    )
    examine.add_argument(
        "--store",
        metavar="PATH",
        type=Path,
        help="the store to look at (default: $PPLDELTA_STORE, else in the user's cache folder)",
    )
    examine.add_argument("--json", action="store_true", help="write JSON instead of text")
    examine.set_defaults(command="doctor")


def _add_setting(command: argparse.ArgumentParser, name: str, default: object) -> None:
    known = SETTINGS[name]
    if isinstance(default, bool):
        command.add_argument(*known.flags, dest=name, action="store_true", help=known.help)
        return
    command.add_argument(
        *known.flags,
        dest=name,
        type=str if known.choices else _whole(known.least, known.most or INT_MAX, known.words),
        choices=known.choices,
        default=default,
        metavar=known.metavar,
        help=known.help,
    )


def _whole(least: int, most: int, default: tuple[str, ...]) -> Callable[[str], int | None]:
    """A whole number in a range, or what stands for the default, as in llama.cpp."""

    def read(text: str) -> int | None:
        if text in default:
            return None
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            others = "".join(f" or `{word}`" for word in default)
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}{others}, got `{text}`")
        return value

    return read


def _not_negative(text: str) -> float:
    """A number of days or megabytes."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number that is not negative, got `{text}`")
    return value


def _add_store_flags(command: argparse.ArgumentParser) -> None:
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--store",
        type=Path,
        default=True,
        metavar="FILE",
        help="where evaluations are kept, so that none is made twice (default: what PPLDELTA_STORE names, else a file "
        "in your cache folder)",
    )
    where.add_argument("--no-store", dest="store", action="store_const", const=None, help="keep no evaluations")


def _add_tokens_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tokens",
        type=_views,
        default=DEFAULT_VIEWS,
        metavar="N|all",
        help="documents that the report shows token by token: the N that changed most and those with a listed passage, "
        "as far as one file has room (default: %(default)s)",
    )


def _views(text: str) -> int | str:
    """A number of documents, or `all`."""
    if text == "all" or (text.isascii() and text.isdigit()):
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"must be a number of documents or `all`, got `{text}`")
