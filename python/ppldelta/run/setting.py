"""The type in which `settings` says of each field what the command line, the signature and the docs make of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ppldelta.errors import PpldeltaError
from ppldelta.wording.names import printable, quoted, shown_type

INT_MAX = 2**31 - 1
"""What llama.cpp's int32 holds."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of a setting beside its name, its type and its default.

    Attributes:
        decides: "numbers" if the log-probability of a token depends on it, so that it belongs to the signature and to
            the store's key; "tokens" if it only chooses which windows are evaluated, so that it belongs to the
            signature; "columns" if it only adds to the result; "rows" if it decides what log-probabilities are summed
            over; "words" if it only decides how the report tells of a comparison; "speed" if it moves time and memory
            alone.
        help: a sentence for people; what the command line says of its flag.
        flags: of the command line, with llama.cpp's names if it has the flag; none if it cannot be asked for.
        metavar: what the command line's help writes for its value.
        least: the least number that it may be.
        most: the greatest one; None if there is no limit.
        choices: what it may be if it is no number.
        words: what the command line takes for the default, as llama.cpp does.
        file: whether it may also be the path of a file, where True and False leave that open.
        quiet: whether the signature is silent about its default, as it was before there was this setting.
    """

    decides: Literal["numbers", "tokens", "columns", "rows", "words", "speed"]
    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    least: int = 0
    most: int | None = INT_MAX
    choices: tuple[str, ...] | None = None
    words: tuple[str, ...] = ()
    file: bool = False
    quiet: bool = False

    @property
    def metadata(self) -> dict[str, Setting]:
        """As the metadata of a dataclass's field."""
        return {"setting": self}

    def said(self, value: object) -> str:
        """How the signature names a value: a file by its name and 16 digits of its sha256, wherever it lies."""
        if not self.file or not isinstance(value, str):
            return str(value)
        try:
            return f"{Path(value).name}@{hashlib.sha256(Path(value).expanduser().read_bytes()).hexdigest()[:16]}"
        except OSError:
            return value

    def refuse_type(self, name: str, value: object, default: object) -> None:
        """
        Args:
            name: the setting's.
            value: what was asked for.
            default: what stands for it if nothing is asked for.

        Raises:
            PpldeltaError: the value is not of the type that the default has.
        """
        if value is None and default is None:
            return
        if self.choices:
            if not isinstance(value, str):
                raise PpldeltaError(f"`{name}` must be a str, got {shown_type(value)}")
        elif self.file:
            if not isinstance(value, (bool, str)) or value == "":
                raise PpldeltaError(f"`{name}` must be True, False or the path of a file, got {shown_type(value)}")
        elif isinstance(default, bool):
            if not isinstance(value, (bool, np.bool_)):
                raise PpldeltaError(f"`{name}` must be True or False, got {shown_type(value)}")
        elif isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise PpldeltaError(f"`{name}` must be a whole number, got {shown_type(value)}")

    def refuse_value(self, name: str, value: object, default: object) -> None:
        """
        Args:
            name: the setting's.
            value: what was asked for.
            default: what stands for it if nothing is asked for.

        Raises:
            PpldeltaError: a value of the right type is out of its range.
        """
        if self.choices and value is not None:
            if value not in self.choices:
                raise PpldeltaError(f"`{name}` must be one of {quoted(self.choices)}, got `{printable(str(value))}`")
        elif isinstance(value, bool) or not isinstance(value, (int, np.integer)) or self.most is None:
            return
        elif not self.least <= value <= self.most:
            usual = "a usual value stands for it" if default is None else f"it is {default}"
            raise PpldeltaError(
                f"`{name}` must lie between {self.least} and {self.most}, got {value}",
                hint=f"if you leave it out, {usual}",
            )
