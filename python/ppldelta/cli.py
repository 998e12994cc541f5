"""The command line: arguments in, the Python API called, one clear line out when something is wrong.

Data goes to stdout, logs and progress to stderr. Exit status: 0 done; 1 failed, or something was left out, or stdout
cannot be written; 2 wrong use; 130, 143, 129 and 141 as a shell says it of Ctrl-C, SIGTERM, SIGHUP and a closed pipe.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import ppldelta
from ppldelta import demo, posix
from ppldelta.commands import arguments, cluster, doctor, look
from ppldelta.console import terminal
from ppldelta.errors import all_left_out
from ppldelta.models.references import Named, is_kld, resolve
from ppldelta.run.request import hub_of_run
from ppldelta.run.settings import Settings
from ppldelta.saved.files import prepared_folder
from ppldelta.store.pruning import StoredModel, prune, summary
from ppldelta.store.store import Store, default_path
from ppldelta.studies.description import read as read_study
from ppldelta.studies.example import example
from ppldelta.studies.study import plans
from ppldelta.studies.study import run as run_study
from ppldelta.wording import numbers
from ppldelta.wording.names import columns, counted, printable, shown_name


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status (2 for wrong use is raised by argparse as SystemExit)."""
    return terminal.guarded(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(given: list[str]) -> int:
    if given and given[0] in arguments.PROGRAMS:  # all their own flags, `--help` included
        return _run_program(arguments.PROGRAMS[given[0]][0], given[1:])
    options = arguments.parser().parse_args(given)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.ERROR,
        format="%(levelname)s %(name)s: %(message)s" if options.verbose else "%(message)s",
        handlers=[terminal.LogLines()],
    )
    if not options.verbose:  # what matters of it is in our own errors
        logging.getLogger("ppldelta.llama_cpp").setLevel(logging.CRITICAL)
    try:
        return _COMMANDS[options.command](options)
    except ppldelta.PpldeltaError as error:
        terminal.say(f"ppldelta: error: {error}")
        return 1
    except terminal.Ended as ended:
        return _interrupted(options, f"ended by {ended.name}", ended.status)
    except KeyboardInterrupt:
        return _interrupted(options, "interrupted", 128 + signal.SIGINT)


def _interrupted(options: argparse.Namespace, how: str, status: int) -> int:
    if options.command not in ("score", "study", "demo") or getattr(options, "dry_run", False):
        kept = ""  # nothing is evaluated
    elif options.store and getattr(options, "corpus", True):
        kept = "; all but the last seconds' work is kept, the same command goes on from there"
    else:
        kept = "; nothing was kept"
    terminal.say(f"ppldelta: {how}{kept}")
    return status


def _score(options: argparse.Namespace) -> int:
    if options.output is None and not options.dry_run:
        options.wrong_use("the following arguments are required: -o/--output (or --dry-run)")
    if not options.corpus and not is_kld(options.ref):
        if options.ref.endswith(".kld"):
            resolve(options.ref)  # it is missing, and named as such
        options.wrong_use("the following arguments are required: CORPUS (or a .kld file as --ref)")
    if isinstance(_model(options.ref), Named):
        raise ppldelta.PpldeltaError(
            f"there is no file `{printable(options.ref)}`, and `--ref` takes no label",
            hint="only `--cmp` takes LABEL=MODEL; a reference is called after its file",
        )
    job: dict[str, Any] = {
        "files": options.corpus[0] if options.corpus and len(options.corpus) == 1 else options.corpus,
        "ref": options.ref,
        "cmp": [_model(text) for text in options.cmp],
        **{each.name: getattr(options, each.name) for each in fields(Settings)},
        "store": options.store,
        "rpc": options.rpc,
        "progress": not options.quiet,
    }
    where = cluster.connected(options.dask) if options.dask else nullcontext()
    if options.dry_run:
        with where as executor:
            plan = ppldelta.plan(**job, executor=executor)
        _warn(plan.warnings)
        terminal.show(repr(plan))
        return _left_out(plan.left_out, options)
    with prepared_folder(options.output):
        with where as executor:
            result = ppldelta.score(**job, executor=executor)
        folder = result.save(options.output, tokens=options.tokens)
    _show(result, folder)
    return _left_out(result.left_out, options)


def _study(options: argparse.Namespace) -> int:
    progress = not options.quiet
    described = read_study(options.study, on=hub_of_run(progress))
    options.store = described.store
    where = cluster.connected(options.dask) if options.dask else nullcontext()
    if options.dry_run:
        with where as executor:
            of_families = plans(described, executor=executor, progress=progress)
        for plan in of_families:
            _warn(plan.warnings)
            terminal.show(f"{plan}\n")
        return _left_out(all_left_out(plan.left_out for plan in of_families), options)
    output = options.output or described.output
    if output is None:
        raise ppldelta.StudyError(
            f"`{printable(options.study)}` names no `output`", hint="write one into it, or give `-o OUT`"
        )
    with prepared_folder(output):
        with where as executor:
            result = run_study(described, executor=executor, progress=progress)
        folder = result.save(output, tokens=options.tokens)
    _show(result, folder)
    return _left_out(result.left_out, options)


def _init(options: argparse.Namespace) -> int:
    shown = printable(options.study)
    try:
        with options.study.open("x", encoding="utf-8") as file:
            file.write(example(options.study.name))
    except FileExistsError:
        raise ppldelta.StudyError(f"`{shown}` is there already", hint="name another file") from None
    except OSError as error:
        raise ppldelta.StudyError(f"cannot write `{shown}`: {error.strerror}") from error
    terminal.show(f"{shown} is written; edit it, then run `ppldelta study {shown}`")
    return 0


_FAILURES = ("comparison", "divergence", "family")
"""Kinds of what is left out (`errors.LeftOut`) that are an error: the user named each."""


def _left_out(names: dict[str, list[str]], options: argparse.Namespace) -> int:
    """The exit status if something was left out: `_FAILURES` count, with `--strict` everything does."""
    failed = {kind: some for kind, some in names.items() if options.strict or kind in _FAILURES}
    if not failed:
        return 0
    parts = []
    for kind, some in failed.items():
        shown = ", ".join(f"`{shown_name(name)}`" for name in some[:3]) + (" …" if len(some) > 3 else "")
        parts.append(f"{counted(len(some), kind)} ({shown})")
    n = sum(map(len, failed.values()))
    terminal.say(
        f"ppldelta: error: {' and '.join(parts)} {'is' if n == 1 else 'are'} left out; the warnings above say why"
    )
    return 1


def _model(text: str) -> str | Named:
    """`[LABEL=]MODEL`; a path that exists is taken whole, whatever it holds."""
    label, equals, model = text.partition("=")
    return Named(label, model) if equals and label and not os.path.exists(text) else text


def _report(options: argparse.Namespace) -> int:
    merged = _merged(options.results, same_bytes=options.same_bytes)
    terminal.show_path(merged.report(options.output, tokens=options.tokens))
    return 0


def _merged(folders: list[str], *, same_bytes: bool = True) -> ppldelta.Result:
    """Saved results as one; says what is to be known of that beside what each of them says."""
    from ppldelta.merging import merge  # here: it imports polars

    results = [ppldelta.load(folder) for folder in folders]
    merged = merge(results, same_bytes=same_bytes)
    known = {warning for result in results for warning in result.warnings}
    _warn([warning for warning in merged.warnings if warning not in known])
    return merged


def _card(options: argparse.Namespace) -> int:
    for path in _merged(options.results).card(options.output or options.results[0]):
        terminal.show_path(path)
    return 0


def _verify(options: argparse.Namespace) -> int:
    damaged = 0
    for folder in options.results:
        differences = ppldelta.verify(folder)
        damaged += bool(differences)
        terminal.show(f"{printable(folder)}: {'; '.join(differences) or 'as it was saved'}")
    if damaged:
        n, verb = counted(len(options.results), "folder"), "is" if damaged == 1 else "are"
        terminal.say(f"ppldelta: error: {damaged} of {n} {verb} not known to be as saved")
    return int(damaged > 0)


def _demo(options: argparse.Namespace) -> int:
    with prepared_folder(options.output):
        result = demo.run(store=options.store)
        folder = result.save(options.output)
    _show(result, folder)
    if not options.no_open:
        demo.open_in_browser(folder / "report.html")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    found = doctor.examine(options.store, progress=True)
    terminal.show(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if options.json else str(found))
    return int(bool(found.problems))


def _store(options: argparse.Namespace) -> int:
    which = (options.older_than_days, options.model, options.max_mb, options.everything or None)
    if (options.action == "prune") != any(each is not None for each in which):
        options.wrong_use("`prune` needs one of --older-than, --model, --max-size, --all; nothing else takes them")
    path = (options.store or default_path()).expanduser()
    if not os.path.exists(path):
        terminal.show(f"there is no store `{printable(path)}` yet; `ppldelta score` makes one")
        return 0
    with Store(path) as store:
        if options.action == "show":
            terminal.show(_table(summary(store), f"in `{printable(path)}`"))
        else:
            removed = prune(
                store,
                model=options.model,
                older_than_days=options.older_than_days,
                max_bytes=None if options.max_mb is None else int(options.max_mb * 1e6),
                everything=options.everything,
            )
            terminal.show(_table(removed, f"removed from `{printable(path)}`"))
    terminal.show(f"size of the file: {numbers.size(path.stat().st_size)}")
    return 0


def _table(models: list[StoredModel], where: str) -> str:
    """A line per model, and what they are together."""
    rows = [("model", "sha256", "windows", "tokens", "size", "computed in", "last used")]
    for each in models:
        rows.append(
            (
                shown_name(each.path.name) if each.path else numbers.NONE,
                each.sha256[:12],
                f"{each.n_windows:,}",
                f"{each.n_scored:,}",
                numbers.size(each.size_bytes),
                f"{each.time_s:,.1f} s",
                f"{each.last_used.astimezone():%Y-%m-%d %H:%M}",
            )
        )
    total = f"{len(models)} model{'s' * (len(models) != 1)}, {sum(each.n_scored for each in models):,} tokens {where}"
    return "\n".join([*columns(rows, n_left=2), total] if models else [total])


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        terminal.say(f"warning: {warning}")


def _show(result: ppldelta.Result, folder: Path) -> None:
    _warn(result.warnings)
    terminal.show(f"{result}\n\nreport: {printable(folder / 'report.html')}")


def _run_program(name: str, flags: list[str]) -> int:
    """Replaces this process by a program of llama.cpp that lies in the package."""
    program = Path(ppldelta.__file__).parent / "bin" / name
    if not program.exists():
        hint = "install ppldelta again" + (", without `-DGGML_RPC=OFF`" if "rpc" in name else "")
        terminal.say(f"ppldelta: error: `{printable(program)}` is missing\nhint: {hint}")
        return 1
    posix.replace_process(program, flags, ends_with_a_closed_pipe="server" not in name)


_COMMANDS = {
    "score": _score,
    "study": _study,
    "init": _init,
    "report": _report,
    "card": _card,
    "verify": _verify,
    "demo": _demo,
    "look": look.run,
    "store": _store,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
