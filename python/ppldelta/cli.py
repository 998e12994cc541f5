"""The command line: arguments in, the Python API called, one clear line out when something is wrong.

Data goes to stdout, logs and progress to stderr. Exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import ppldelta
from ppldelta import arguments, demo, doctor
from ppldelta.engine.pruning import StoredModel, prune, summary
from ppldelta.engine.store import Store, default_path
from ppldelta.models.references import ModelReference, resolve
from ppldelta.report import numbers
from ppldelta.saving import prepare_folder
from ppldelta.text.names import counted, printable


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status (2 for wrong use is raised by argparse as SystemExit)."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in arguments.PROGRAMS:  # all their own flags, `--help` included
        return _run_program(arguments.PROGRAMS[given[0]][0], given[1:])
    options = arguments.parser().parse_args(given)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.ERROR,
        format="%(levelname)s %(name)s: %(message)s" if options.verbose else "%(message)s",
    )
    if not options.verbose:  # what matters of it is in our own errors
        logging.getLogger("ppldelta.llama_cpp").setLevel(logging.CRITICAL)
    try:
        return _COMMANDS[options.command](options)
    except ppldelta.PpldeltaError as error:
        print(f"ppldelta: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if getattr(options, "store", None):
            kept = "all but the last seconds' work is kept, the same command goes on from there"
        else:
            kept = "nothing was kept"
        print(f"ppldelta: interrupted; {kept}", file=sys.stderr)
        return 130  # as a shell says it of SIGINT


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
        rpc=options.rpc,
        progress=not options.quiet,
    )
    if isinstance(result, ppldelta.Plan):
        _warn(result.warnings)
        print(result)
        failed = [model for model in result.models if model.n_fed and model.tokens_per_s is None]
        return int(bool(failed) or len(result.models) <= len(options.cmp))
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


def _report(options: argparse.Namespace) -> int:
    path = ppldelta.report([ppldelta.load(folder) for folder in options.results], options.output, tokens=options.tokens)
    print(path)
    return 0


def _demo(options: argparse.Namespace) -> int:
    prepare_folder(options.output)
    result = demo.run(store=options.store)
    folder = result.save(options.output)
    _show(result, folder)
    if not options.no_open:
        demo.open_in_browser(folder / "report.html")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    found = doctor.examine(options.store, progress=True)
    print(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if options.json else found)
    return int(bool(found.problems))


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
    rows = [("model", "sha256", "windows", "tokens", "size", "computed in", "last used")]
    for each in models:
        rows.append(
            (
                printable(each.path.name) if each.path else numbers.NONE,
                each.sha256[:12],
                f"{each.n_windows:,}",
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


def _run_program(name: str, flags: list[str]) -> int:
    """Replaces this process by a program of llama.cpp that lies in the package."""
    program = Path(ppldelta.__file__).parent / "bin" / name
    if not program.exists():
        hint = "install ppldelta again" + (", without `-DGGML_RPC=OFF`" if "rpc" in name else "")
        print(f"ppldelta: error: `{printable(program)}` is missing\nhint: {hint}", file=sys.stderr)
        return 1
    os.execv(program, [str(program), *flags])


_COMMANDS = {"score": _score, "report": _report, "demo": _demo, "store": _store, "doctor": _doctor}


if __name__ == "__main__":
    sys.exit(main())
