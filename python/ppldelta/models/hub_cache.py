"""The hub's cache on this machine, which huggingface_hub and llama.cpp share: where it is, and what it holds.

`models--OWNER--REPO/` holds `blobs/` (files by their hash), `snapshots/COMMIT/` (their names, as links to blobs) and
`refs/` (the commit of each branch). Whatever has its name in a snapshot is complete: both tools move it there last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAIN = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FOLDERS = (
    ("LLAMA_CACHE", ""),
    ("HF_HUB_CACHE", ""),
    ("HUGGINGFACE_HUB_CACHE", ""),
    ("HF_HOME", "hub"),
    ("XDG_CACHE_HOME", "huggingface/hub"),
)
"""Variables and what is below the folder that each names, in llama.cpp's order (its common/hf-cache.cpp)."""
_TRUE = {"1", "ON", "YES", "TRUE"}


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the cache is: llama.cpp's order, which is huggingface_hub's with `LLAMA_CACHE` before it."""
    for variable, below in _FOLDERS:
        if value := environment.get(variable):
            return Path(os.path.expandvars(value)).expanduser() / below
    return Path("~/.cache/huggingface/hub").expanduser()


def is_offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user forbids the network, by huggingface_hub's rule."""
    value = environment.get("HF_HUB_OFFLINE") or environment.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in _TRUE


@dataclass(frozen=True)
class CachedRepo:
    """A repository's part of the cache; it need not be there.

    Attributes:
        cache: the cache's folder.
        repo: `OWNER/REPO`.
    """

    cache: Path
    repo: str

    @property
    def folder(self) -> Path:
        """Where all of it is."""
        return self.cache / self._folder_name

    @property
    def _folder_name(self) -> str:
        return f"models--{self.repo.replace('/', '--')}"

    def snapshot(self, commit: str) -> Path:
        """The folder with the files' names as they were at a commit."""
        return self.folder / "snapshots" / commit

    def blob(self, digest: str) -> Path:
        """A file by its hash."""
        return self.folder / "blobs" / digest

    def lock(self, digest: str) -> Path:
        """What huggingface_hub locks while it downloads a file."""
        return self.cache / ".locks" / self._folder_name / f"{digest}.lock"

    def commit(self, revision: str | None) -> str | None:
        """The commit that a revision was when it was last looked up; None if that is not known."""
        if revision and _COMMIT.fullmatch(revision):
            return revision if self.snapshot(revision).is_dir() else None
        try:
            text = self._ref(revision).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return text if _COMMIT.fullmatch(text) and self.snapshot(text).is_dir() else None

    def note_commit(self, revision: str | None, commit: str) -> None:
        """Remembers the commit that a revision is today.

        Raises:
            OSError: it cannot be written.
        """
        if revision == commit:
            return
        ref = self._ref(revision)
        ref.parent.mkdir(parents=True, exist_ok=True)
        mine = ref.with_name(f"{ref.name}.{os.getpid()}")
        mine.write_text(commit, "ascii")
        mine.replace(ref)

    def files(self, commit: str) -> list[str]:
        """The paths in the repository of what is complete here, sorted."""
        snapshot = self.snapshot(commit)
        return sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())

    def _ref(self, revision: str | None) -> Path:
        """Where a branch's commit is written.

        Raises:
            OSError: the revision leads out of the folder.
        """
        refs = self.folder / "refs"
        ref = Path(os.path.normpath(refs / (revision or MAIN)))
        if refs not in ref.parents:
            raise OSError(f"`{revision}` is no revision")
        return ref
