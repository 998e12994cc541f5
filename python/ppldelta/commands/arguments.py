"""The command line's arguments: llama.cpp's names where it has the flag, checked where argparse can name the flag."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

import ppldelta
from ppldelta.commands import flags, look
from ppldelta.console import terminal
from ppldelta.engine import rpc
from ppldelta.run.settings import Settings
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
    as_the_help_lists_them = (
        *(_add_score, _add_study, _add_init, _add_report, _add_card, _add_verify),
        *(_add_look, _add_demo, _add_store, _add_doctor),
    )
    for add in as_the_help_lists_them:
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
        help="a folder, files, or a quoted glob; a document's category is its first folder. Of .jsonl, .ndjson and "
        ".parquet files each row is a document: `text`, `prompt` with `completion`, or `messages`. None with a .kld "
        "file as --ref, which brings its own tokens",
    )
    corpus.required = False  # with nargs="*" argparse takes none where flags come first, and refuses what follows them
    score.add_argument(
        "--ref",
        required=True,
        metavar="MODEL|KLD",
        help="the reference model: a GGUF file, or a name on the Hugging Face hub, OWNER/REPO[:QUANT]; or its "
        "log-probabilities as `ppldelta perplexity --save-all-logits` wrote them",
    )
    score.add_argument(
        "--cmp",
        required=True,
        action="append",
        metavar="[LABEL=]MODEL",
        help="a comparison model; +ADAPTER.gguf[:SCALE] behind its name applies a LoRA or a control vector (with a "
        ".kld file as --ref: also another .kld file); may be given several times",
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
        flags.add_setting(score, each.name, each.default)
    score.add_argument(
        "--chat-template-file",
        dest="chat_template",
        default=False,
        metavar="FILE",
        help="the same, by the chat template in a file, in Jinja",
    )
    flags.add_dask(score)
    score.add_argument(
        "--rpc",
        metavar="HOST:PORT[,...]",
        help="use the devices of `ppldelta rpc-server` on other machines like GPUs of this one (default: what "
        f"{rpc.VARIABLE} names); {rpc.WARNING}",
    )
    flags.add_store(score)
    flags.add_tokens(score)
    flags.add_strict_and_quiet(score)
    score.set_defaults(command="score", wrong_use=score.error)


def _add_study(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    study = commands.add_parser(
        "study",
        parents=[common],
        help="compare the models of several families, as a file describes it",
        description="Runs what a file describes: one corpus, and families of models, each judged against its "
        "reference. Writes one report. Interrupted, the same command goes on from there.",
    )
    study.add_argument("study", metavar="STUDY.toml", type=Path, help="the file; `ppldelta init` writes an example")
    study.add_argument(
        "-o", "--output", metavar="OUT", type=Path, help="folder to write (default: the `output` of the file)"
    )
    study.add_argument(
        "--dry-run", action="store_true", help="show what there is to do, family by family; score nothing"
    )
    flags.add_dask(study)
    flags.add_tokens(study)
    flags.add_strict_and_quiet(study)
    study.set_defaults(command="study", store=True)


def _add_init(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    init = commands.add_parser(
        "init",
        parents=[common],
        help="write a commented example for `ppldelta study`",
        description="Writes a commented example of a file for `ppldelta study`. No file is overwritten.",
    )
    init.add_argument(
        "study", metavar="STUDY.toml", type=Path, nargs="?", default=Path("study.toml"), help="default: %(default)s"
    )
    init.set_defaults(command="init")


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
    flags.add_tokens(report)
    report.add_argument(
        "--all-bytes",
        dest="same_bytes",
        action="store_false",
        help="of several families, count also the bytes that not all of them scored",
    )
    report.set_defaults(command="report")


def _add_card(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    card = commands.add_parser(
        "card",
        parents=[common],
        help="write one picture that says a result, and its numbers for model pages",
        description="Writes card.svg and card.png (1200 x 675; -square: 1080 x 1080; -dark), card.md with a table for "
        "a model page, results.json for scripts, and .eval_results/ppldelta.yaml for the Hugging Face hub. Needs no "
        "browser and no network.",
    )
    card.add_argument("results", nargs="+", metavar="OUT", help="folders that `ppldelta score -o` wrote")
    card.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        type=Path,
        help="folder to write into (default: the first OUT)",
    )
    card.set_defaults(command="card")


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


def _add_look(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    parser = commands.add_parser(
        "look",
        parents=[common],
        help="see what a model expects at each place of a short text, and its hidden states",
        description="Draws a part of the matrix of log-probabilities of one model, or of two and their difference, and "
        "the hidden states along a short text.",
    )
    look.add_flags(parser)
    parser.set_defaults(command="look")


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
    flags.add_store(show)
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
        type=flags.not_negative,
        help="what no run has used for so many days",
    )
    which.add_argument(
        "--model", metavar="SHA_OR_NAME", help="one model: its sha256's first digits, or its file's name"
    )
    which.add_argument(
        "--max-size",
        dest="max_mb",
        metavar="MB",
        type=flags.not_negative,
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
