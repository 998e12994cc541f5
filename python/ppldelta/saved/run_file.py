"""`run.json`: what a saved result says beside its frames, with a hash of each file of the folder and one of its own."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppldelta.errors import ResultError
from ppldelta.family import Family
from ppldelta.saved.strict import Misfit, as_json, parse, read, shown
from ppldelta.wording.names import printable

FORMAT = 1
"""Version of the folder."""

RUN = "run.json"

AGAIN = "copy the folder again if it is a copy; else score again, which takes from the store what it has"
"""The next step if a folder is damaged."""


@dataclass(frozen=True)
class SavedFile:
    """A file as it was saved: sha256 as 64 hexadecimal digits, and its size in bytes."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Run:
    """What `run.json` says, but for the format and the file's own hash: `write_run` adds them, `read_run` checks them.

    Attributes:
        version: of the ppldelta that saved the result.
        families: as in `Result`, and so are the next two.
        warnings: sentences.
        left_out: kind → names.
        files: the folder's other files by name; None if an older version saved it.
    """

    version: str = field(metadata={"key": "ppldelta"})
    families: list[Family]
    warnings: list[str]
    left_out: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, SavedFile] | None = None


def write_run(path: Path, run: Run) -> None:
    """Writes the file.

    Raises:
        OSError: it cannot be written.
    """
    said = as_json(run)
    assert isinstance(said, dict)
    content = {"format": FORMAT, **said}
    text = json.dumps({**content, "sha256": content_hash(content)}, indent=2, ensure_ascii=False)
    path.write_bytes(text.encode() + b"\n")


def read_run(folder: Path) -> Run:
    """What a folder's `run.json` says; older ones hold no hashes, neither of the files nor of themselves.

    Raises:
        ResultError: it cannot be read, is not what was saved, or is of a newer format.
    """
    path = folder / RUN
    try:
        content = parse(path.read_bytes())
        if not isinstance(content, dict):
            raise Misfit(f"it must be an object, got {shown(content)}")
        sha256 = content.pop("sha256", None)
        if (sha256 is not None or content.get("files") is not None) and sha256 != content_hash(content):
            raise Misfit("its content is not what was saved")
        if "format" not in content:
            raise Misfit("`format` is missing")
        version = content.pop("format")
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise Misfit(f"`format` must be a whole number from 1 to {FORMAT}, got {shown(version)}")
        if version > FORMAT:
            raise ResultError(
                f"`{printable(folder)}` was written in format {shown(version)}; this version reads up to {FORMAT}",
                hint="upgrade ppldelta",
            )
        run = read(Run, content)
        if sha256 is not None and run.files is None:
            raise Misfit("`files` is missing")
        _check(run)
        return run
    except OSError as error:
        raise ResultError(f"`{printable(path)}` cannot be read: {error.strerror}", hint=AGAIN) from error
    except Misfit as error:
        raise damaged(path, str(error)) from error
    except RecursionError as error:
        raise damaged(path, "it holds lists in lists without end") from error


def content_hash(content: Mapping[str, object]) -> str:
    """sha256 over what the file says beside this hash, however it is laid out, as 64 hexadecimal digits."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def damaged(path: Path, why: str) -> ResultError:
    """The error for a file that is not what was saved."""
    return ResultError(f"`{printable(path)}` is damaged: {why}", hint=AGAIN)


def _check(run: Run) -> None:
    """Checks what types cannot say: each list that must not be empty holds something, and names are unique."""
    if not run.families:
        raise Misfit("`families` must hold at least one family, got []")
    _unique("families", "family", (family.name for family in run.families))
    for i, family in enumerate(run.families):
        if not family.cmp:
            raise Misfit(f"`families[{i}].cmp` must hold at least one model, got []")
        _unique(f"families[{i}].cmp", "label", family.models)


def _unique(place: str, key: str, names: Iterable[str]) -> None:
    for name, n in Counter(names).items():
        if n > 1:
            raise Misfit(f"each `{key}` in `{place}` must be another, got {shown(name)} {n} times")
