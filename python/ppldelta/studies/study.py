"""Runs a study: each family as `score` runs it, and one result of all."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ppldelta.console.progress import line
from ppldelta.errors import LeftOut, PpldeltaError, all_left_out, names_left_out
from ppldelta.run.dry_run import plan
from ppldelta.run.plans import Plan
from ppldelta.run.request import hub_of_run
from ppldelta.run.scoring import score
from ppldelta.saved.files import prepared_folder
from ppldelta.studies.description import FamilyToRun, Study, StudyLike, read
from ppldelta.wording.names import printable, shown_name

if TYPE_CHECKING:
    from ppldelta.result import Result


def study(given: StudyLike, *, executor: Executor | None = None, progress: bool = True) -> Result:
    """Compares the models of several families on one corpus, as a file or a mapping describes it.

    A study that was interrupted, or one that has got more models, goes on where the store ends; the same study once
    more evaluates nothing.

    Args:
        given: the path of a TOML file (`ppldelta init` writes a commented example), or a mapping of the same form:
            `corpus`, `families` (a list of `ref`, `cmp` and optionally `name`), `settings`, `output`, `store`. Relative
            paths are relative to the file, in a mapping to the working folder.
        executor: as in `score`.
        progress: whether to show how far it is.

    Returns:
        A family for each reference. It is saved already if the study names an `output`.

    Raises:
        StudyError: the study cannot be read, or says what no study has.
        PpldeltaError: as `score`, if no family can be evaluated; what others give is kept, and a family that fails is
            named in the warnings.
    """
    described = read(given, on=hub_of_run(progress))
    with prepared_folder(described.output) if described.output else nullcontext():
        result = run(described, executor=executor, progress=progress)
        if described.output:
            result.save(described.output)
    return result


def run(described: Study, *, executor: Executor | None = None, progress: bool = True) -> Result:
    """The result of a study that was read; `study` says what it raises."""
    from ppldelta.merging import merge

    results: list[Result] = []
    failures: list[tuple[FamilyToRun, PpldeltaError]] = []
    for i, family in enumerate(described.families, 1):
        if progress:
            line(f"family {i} of {len(described.families)}: `{shown_name(family.ref.label)}`")
        try:
            results.append(score(**_arguments(described, family), executor=executor, progress=progress))
        except PpldeltaError as error:
            failures.append((family, error))
    if not results:
        raise failures[0][1]
    merged = merge(results)
    lost = [_left_out(*failure) for failure in failures]
    return replace(
        merged,
        warnings=[*described.warnings, *merged.warnings, *map(str, lost)],
        left_out=all_left_out([merged.left_out, names_left_out(lost)]),
    )


def _left_out(family: FamilyToRun, error: PpldeltaError) -> LeftOut:
    name = printable(family.ref.label)
    return LeftOut(f"the family of `{name}` is left out: {error.message}", "family", name)


def plans(described: Study, *, executor: Executor | None = None, progress: bool = True) -> list[Plan]:
    """What each family will take, without evaluating it; the errors are those of `run.dry_run.plan`."""
    return [plan(**_arguments(described, each), executor=executor, progress=progress) for each in described.families]


def _arguments(described: Study, family: FamilyToRun) -> dict[str, Any]:
    """Those that `score` and `plan` share."""
    return {
        "files": described.corpus,
        "ref": family.ref,
        "cmp": list(family.cmp),
        "store": described.store,
        **asdict(described.settings),
    }
