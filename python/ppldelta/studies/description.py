"""What a study is to compare, read from a TOML file or a mapping, and refused if a word in it is not known.

The words are those of `score`: a study is a corpus, settings, and for each family the `ref` and `cmp` of one call.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from ppldelta.errors import StudyError
from ppldelta.models import hub
from ppldelta.models.download import Hub
from ppldelta.models.references import LabelledSource, resolve, resolve_many
from ppldelta.run.settings import Settings
from ppldelta.wording.names import printable, shown_type

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
StudyLike = str | os.PathLike[str] | Mapping[str, object]
"""What `read` takes."""

_KEYS = ("corpus", "output", "store", "settings", "families")
_FAMILY_KEYS = ("name", "ref", "cmp")


@dataclass(frozen=True)
class FamilyToRun:
    """One reference and what is judged against it.

    Attributes:
        ref: the reference; its label is the family's name.
        cmp: the comparisons.
    """

    ref: LabelledSource
    cmp: tuple[LabelledSource, ...]


@dataclass(frozen=True)
class Study:
    """A study whose words are known and whose models exist.

    Attributes:
        corpus: folder, globs or files, as `score` takes them.
        families: in the order of the report.
        settings: the same for all families.
        output: the folder to write; None if the study names none.
        store: as in `score`.
        warnings: sentences for the reader of the numbers.
    """

    corpus: str | list[str]
    families: tuple[FamilyToRun, ...]
    settings: Settings
    output: Path | None
    store: str | bool
    warnings: tuple[str, ...] = ()


def read(given: StudyLike, *, on: Hub | None = None) -> Study:
    """Reads a study, and downloads those of its models that are on the hub.

    Args:
        given: the path of a TOML file, or a mapping of the same form. Every relative path in a file is relative to the
            file's folder, in a mapping to the working folder.
        on: the hub to ask.

    Raises:
        StudyError: the file cannot be read, is no TOML, or says something that no study has.
        ModelError: a model does not exist, is no GGUF file, or cannot be had from the hub.
        PpldeltaError: a setting is out of its range.
    """
    on = on or Hub()
    if isinstance(given, Mapping):
        return _Reader("the study", Path(), on).study(given)
    if not isinstance(given, (str, os.PathLike)):
        raise StudyError(f"a study must be the path of a TOML file or a mapping, got {shown_type(given)}")
    path = Path(given).expanduser()
    shown = f"`{printable(path)}`"
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "`ppldelta init` writes an example" if isinstance(error, FileNotFoundError) else None
        raise StudyError(f"cannot read {shown}: {error.strerror or error}", hint=hint) from error
    try:
        words = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StudyError(f"{shown} is no TOML file: {error}", hint="`ppldelta init` writes an example") from error
    return _Reader(shown, path.parent, on).study(words)


@dataclass(frozen=True)
class _Reader:
    """Reads the parts of a study; `what` names it in errors, relative paths are below `root`, `on` is the hub."""

    what: str
    root: Path
    on: Hub

    def study(self, words: Mapping[str, object]) -> Study:
        self._refuse_others(words, _KEYS, "")
        corpus = self._needed(words, "corpus", "")
        families = self._needed(words, "families", "")
        if not isinstance(families, list) or not families:
            raise self._wrong("families", "a list of tables (`[[families]]`), one for each reference", families)
        output = self._of_type(words, "output", str, "a path")
        store = words.get("store", True)
        if not isinstance(store, (bool, str)):
            raise self._wrong("store", "a path, true or false", store)
        found = tuple(self._family(each, f"families[{i}].") for i, each in enumerate(families))
        return Study(
            corpus=self._paths(corpus),
            families=found,
            settings=self._settings(self._of_type(words, "settings", dict, "a table") or {}),
            output=None if output is None else Path(self._path(output)),
            store=self._path(store) if isinstance(store, str) else store,
            warnings=tuple(self.on.warnings),
        )

    def _family(self, words: object, where: str) -> FamilyToRun:
        if not isinstance(words, Mapping):
            raise self._wrong(where.rstrip("."), "a table with `ref` and `cmp`", words)
        self._refuse_others(words, _FAMILY_KEYS, where)
        ref, cmp = (self._needed(words, key, where) for key in ("ref", "cmp"))
        name = self._of_type(words, "name", str, "a text", where)
        if not isinstance(ref, str):
            raise self._wrong(f"{where}ref", "a GGUF file", ref)
        models: Mapping[str, str] | list[str]
        if isinstance(cmp, Mapping) and all(isinstance(each, str) for each in cmp.values()):
            models = {str(label): self._model(each) for label, each in cmp.items()}
        elif isinstance(cmp, (str, list, tuple)) and all(isinstance(each, str) for each in cmp):
            models = [self._model(each) for each in ([cmp] if isinstance(cmp, str) else cmp)]
        else:
            raise self._wrong(f"{where}cmp", "a GGUF file, a list of them, or a table from labels to files", cmp)
        return FamilyToRun(resolve(self._model(ref), label=name, on=self.on), tuple(resolve_many(models, on=self.on)))

    def _settings(self, words: Mapping[str, object]) -> Settings:
        self._refuse_others(words, [each.name for each in fields(Settings)], "settings.")
        return Settings(**words)  # type: ignore[arg-type]  # it looks at the types itself

    def _paths(self, corpus: object) -> str | list[str]:
        if isinstance(corpus, str):
            return self._path(corpus)
        if isinstance(corpus, (list, tuple)) and corpus and all(isinstance(each, str) for each in corpus):
            return [self._path(each) for each in corpus]
        raise self._wrong("corpus", "a folder, a glob, or a list of paths", corpus)

    def _path(self, text: str) -> str:
        return str(self.root / Path(text).expanduser())

    def _model(self, text: str) -> str:
        """A model's name whose paths are below the root: of its file, unless it is on the hub, and of each adapter."""
        path = self._path(text)
        model, *adapters = [text] if Path(path).exists() else text.split("+")
        on_hub = hub.parse(model) is not None and not Path(self._path(model)).exists()
        return "+".join([model if on_hub else self._path(model), *map(self._path, adapters)])

    def _needed(self, words: Mapping[str, object], key: str, where: str) -> object:
        if key not in words:
            raise StudyError(f"{self.what} lacks `{where}{key}`", hint="`ppldelta init` writes an example")
        return words[key]

    def _of_type(self, words: Mapping[str, object], key: str, kind: type[T], wanted: str, where: str = "") -> T | None:
        value = words.get(key)
        if value is not None and not isinstance(value, kind):
            raise self._wrong(f"{where}{key}", wanted, value)
        return value

    def _refuse_others(self, words: Mapping[str, object], known: Iterable[str], where: str) -> None:
        known = list(known)
        for key in words:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean `{where}{near[0]}`?" if near else f"what it can say: {', '.join(known)}"
                raise StudyError(f"{self.what} says `{where}{printable(str(key))}`, which no study has", hint=hint)

    def _wrong(self, key: str, wanted: str, value: object) -> StudyError:
        return StudyError(f"{self.what}: `{key}` must be {wanted}, got {shown_type(value)}")
