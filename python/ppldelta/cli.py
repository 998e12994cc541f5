"""The command line: arguments in, the Python API called, one clear line out when something is wrong.

Data goes to stdout, logs and progress to stderr. Exit status: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import ppldelta
from ppldelta import demo
from ppldelta.engine.plan import RANGES
from ppldelta.engine.pruning import StoredModel, prune, summary
from ppldelta.engine.store import Store, default_path
from ppldelta.models.references import ModelReference, resolve
from ppldelta.report import numbers
from ppldelta.report.payload import DEFAULT_VIEWS
from ppldelta.result import prepare_folder
from ppldelta.scoring import DEFAULT_N_UBATCH
from ppldelta.text.names import counted, printable
from ppldelta.text.windows import RULES


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status (2 for wrong use is raised by argparse as SystemExit)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["perplexity"]:  # all its own flags, `--help` included
        return _perplexity(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.ERROR,
        format="%(levelname)s %(name)s: %(message)s" if options.verbose else "%(message)s",
    )
    if not options.verbose:  # what matters of it is in our own errors
        logging.getLogger("ppldelta.llama_cpp").setLevel(logging.CRITICAL)
    try:
        return options.run(options)
    except ppldelta.PpldeltaError as error:
        print(f"ppldelta: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = "the same command goes on from there" if getattr(options, "store", None) else "nothing was kept"
        print(f"ppldelta: interrupted; {kept}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppldelta",
        description="What did a change do to a GGUF language model? Gain and loss against a reference, token by token.",
    )
    parser.add_argument("--version", action="version", version=f"ppldelta {ppldelta.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="show log lines, llama.cpp's included, on stderr")

    score = commands.add_parser(
        "score",
        parents=[common],
        help="compare models with a reference on documents",
        description="Compares models with a reference, token by token, and writes a report and tables into a folder.",
    )
    score.add_argument(
        "corpus",
        nargs="+",
        metavar="CORPUS",
        help="a folder, files, or a quoted glob; a document's category is its first folder",
    )
    score.add_argument("--ref", required=True, metavar="GGUF", help="the reference model")
    score.add_argument(
        "--cmp",
        required=True,
        action="append",
        metavar="[LABEL=]GGUF",
        help="a comparison model; may be given several times",
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
    _add_tokens(score)
    score.add_argument(
        "--windows",
        choices=RULES,
        default="perplexity",
        help="tokens that are scored: the second half of each window, as llama-perplexity does, or every one "
        "(default: %(default)s)",
    )
    score.add_argument(
        "-c",
        "--ctx-size",
        dest="n_ctx",
        type=_whole(*RANGES["n_ctx"], default=("0",)),
        metavar="N",
        help="tokens evaluated together (default: the reference's training context, at most 8192)",
    )
    score.add_argument(
        "--chunks",
        dest="max_windows",
        type=_whole(1, default=("-1",)),
        metavar="N",
        help="at most N windows of each document (default: all)",
    )
    score.add_argument(
        "-ub",
        "--ubatch-size",
        dest="n_ubatch",
        type=_whole(*RANGES["n_ubatch"]),
        metavar="N",
        default=DEFAULT_N_UBATCH,
        help="tokens computed at once (default: %(default)s)",
    )
    score.add_argument(
        "-t",
        "--threads",
        type=_whole(*RANGES["threads"]),
        metavar="N",
        help="CPU threads (default: the physical cores)",
    )
    score.add_argument(
        "-ngl",
        "--n-gpu-layers",
        dest="n_gpu_layers",
        type=_whole(*RANGES["n_gpu_layers"], default=("auto", "all")),
        metavar="N",
        help="layers on the GPU (default: all, where a GPU backend is built in)",
    )
    where = score.add_mutually_exclusive_group()
    where.add_argument(
        "--store",
        type=Path,
        default=True,
        metavar="FILE",
        help="where evaluations are kept, so that none is made twice (default: a file in your cache folder)",
    )
    where.add_argument("--no-store", dest="store", action="store_const", const=None, help="keep no evaluations")
    score.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    score.set_defaults(run=_score, wrong_use=score.error)

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
    _add_tokens(report)
    report.set_defaults(run=_report)

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
    show.add_argument("--no-open", action="store_true", help="do not open the report in a browser")
    show.set_defaults(run=_demo)

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
    store.set_defaults(run=_store, wrong_use=store.error)

    commands.add_parser("perplexity", help="the patched llama-perplexity, with all its own flags", add_help=False)
    return parser


def _add_tokens(parser: argparse.ArgumentParser) -> None:
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


def _score(options: argparse.Namespace) -> int:
    if not options.dry_run:
        if options.output is None:
            options.wrong_use("the following arguments are required: -o/--output (or --dry-run)")
        prepare_folder(options.output)
    what = ppldelta.plan if options.dry_run else ppldelta.score
    result = what(
        options.corpus[0] if len(options.corpus) == 1 else options.corpus,
        options.ref,
        [_model(text) for text in options.cmp],
        n_ctx=options.n_ctx,
        windows=options.windows,
        max_windows=options.max_windows,
        n_gpu_layers=options.n_gpu_layers,
        n_ubatch=options.n_ubatch,
        threads=options.threads,
        store=options.store,
        progress=not options.quiet,
    )
    if isinstance(result, ppldelta.Plan):
        _warn(result.warnings)
        print(result)
        return 0
    _show(result, result.save(options.output, tokens=options.tokens))
    n_left_out = len(options.cmp) - sum(len(family["cmp"]) for family in result.families)
    if n_left_out:
        print(
            f"ppldelta: error: {n_left_out} of {counted(len(options.cmp), 'comparison')} failed and "
            f"{'is' if n_left_out == 1 else 'are'} not in the report; the warnings above say why",
            file=sys.stderr,
        )
    return 1 if n_left_out else 0


def _model(text: str) -> ModelReference:
    """`[LABEL=]PATH`; a path that exists is taken whole, whatever it holds."""
    label, equals, path = text.partition("=")
    return resolve(path, label=label) if equals and label and not os.path.exists(text) else resolve(text)


def _whole(least: int, most: int = 2**31 - 1, *, default: tuple[str, ...] = ()) -> Callable[[str], int | None]:
    """A whole number in a range, or what stands for the default, as in llama.cpp."""

    def read(text: str) -> int | None:
        if text in default:
            return None
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
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


def _report(options: argparse.Namespace) -> int:
    path = ppldelta.report([ppldelta.load(folder) for folder in options.results], options.output, tokens=options.tokens)
    print(path)
    return 0


def _demo(options: argparse.Namespace) -> int:
    prepare_folder(options.output)
    result = demo.run()
    folder = result.save(options.output)
    _show(result, folder)
    if not options.no_open:
        demo.open_in_browser(folder / "report.html")
    return 0


def _store(options: argparse.Namespace) -> int:
    which = (options.older_than_days, options.model, options.max_mb, options.everything or None)
    if (options.action == "prune") != any(each is not None for each in which):
        options.wrong_use("`prune` needs one of --older-than, --model, --max-size, --all; nothing else takes them")
    path = (options.store or default_path()).expanduser()
    if not os.path.exists(path):
        print(f"there is no store `{printable(path)}` yet; `ppldelta score` makes one")
        return 0
    with Store(path) as store:
        if options.action == "show":
            print(_table(summary(store), f"in `{printable(path)}`"))
        else:
            removed = prune(
                store,
                model=options.model,
                older_than_days=options.older_than_days,
                max_bytes=None if options.max_mb is None else int(options.max_mb * 1e6),
                everything=options.everything,
            )
            print(_table(removed, f"removed from `{printable(path)}`"))
    print(f"size of the file: {numbers.size(path.stat().st_size)}")
    return 0


def _table(models: list[StoredModel], where: str) -> str:
    """A line per model, and what they are together."""
    rows = [("model", "sha256", "documents", "tokens", "size", "computed in", "last used")]
    for each in models:
        rows.append(
            (
                printable(each.path.name) if each.path else numbers.NONE,
                each.sha256[:12],
                f"{each.n_rows:,}",
                f"{each.n_scored:,}",
                numbers.size(each.size_bytes),
                f"{each.time_s:,.1f} s",
                f"{each.last_used.astimezone():%Y-%m-%d %H:%M}",
            )
        )
    total = f"{len(models)} model{'s' * (len(models) != 1)}, {sum(each.n_scored for each in models):,} tokens {where}"
    return "\n".join([*numbers.columns(rows, n_left=2), total] if models else [total])


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _show(result: ppldelta.Result, folder: Path) -> None:
    _warn(result.warnings)
    print(result)
    print(f"\nreport: {folder / 'report.html'}")


def _perplexity(arguments: list[str]) -> int:
    """Replaces this process by the patched llama-perplexity that lies in the package."""
    program = Path(ppldelta.__file__).parent / "bin" / "llama-perplexity"
    if not program.exists():
        print(f"ppldelta: error: `{program}` is missing\nhint: install ppldelta again", file=sys.stderr)
        return 1
    os.execv(program, [str(program), *arguments])


if __name__ == "__main__":
    sys.exit(main())
