"""Reads JSON into frozen dataclasses, strictly: what a class declares is all that a file may say.

Every field must have the type that it is declared with. Only fields with a default may be missing, since older versions
did not write them, and a field that the class does not declare is refused. Numbers are finite and not negative.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ppldelta.family import Signature

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

_WORDS: dict[object, str] = {
    str: "a text",
    bool: "true or false",
    int: f"a whole number from 0 to {2**63 - 1}",
    float: "a finite number that is not negative",
    list: "a list",
    tuple: "a list",
    dict: "an object",
    Signature: "an object of texts",
}


class Misfit(ValueError):
    """What a file holds is not what was wanted; the message names the place, what was wanted and what came."""


def parse(text: bytes) -> object:
    """What JSON says.

    Raises:
        Misfit: it is no JSON, or different readers could understand different things (a name that stands twice, NaN).
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise Misfit(f"it is no JSON in line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise Misfit("it is not UTF-8") from error
    except Misfit:
        raise
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise Misfit("it holds a number that is too long, or lists in lists without end") from error


def read(kind: type[T], value: object, place: str = "") -> T:
    """An instance of a dataclass.

    Args:
        kind: the class. The metadata of a field may hold its name in JSON, `key`; the class variable `GONE` names
            fields that older versions wrote and that are passed over.
        value: what JSON gave.
        place: where it stands, for the error.

    Raises:
        Misfit: a field is missing, unknown, or not of its type.
    """
    return cast(T, _read(kind, value, place))


def as_json(value: object) -> object:
    """A dataclass as what `json.dumps` takes and `read` reads back."""
    if isinstance(value, Signature):
        return dict(value) if value.line is None else value.line
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_key(each): as_json(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {name: as_json(each) for name, each in value.items()}
    return value


def shown(value: object, most: int = 60) -> str:
    """What came, for an error: the beginning of it as JSON."""
    text = json.dumps(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _read(kind: object, value: object, place: str, also: str = "") -> object:
    if get_origin(kind) in (Union, UnionType):
        kinds = [each for each in get_args(kind) if each is not NoneType]
        return None if value is None else _read(kinds[0], value, place, " or null")
    outer, inner = get_origin(kind) or kind, get_args(kind)
    if kind is Signature and isinstance(value, dict):
        return Signature.of(cast("dict[str, str]", _read(dict[str, str], value, place)))
    if kind is Signature and isinstance(value, str) and _is_text(value):  # of an older version
        return Signature(line=value)
    if outer is dict and isinstance(value, dict) and all(map(_is_text, value)):
        return {name: _read(inner[1], each, f"{place}[{shown(name)}]") for name, each in value.items()}
    if outer in (list, tuple) and isinstance(value, list):
        made = [_read(inner[0], each, f"{place}[{i}]") for i, each in enumerate(value)]
        return made if outer is list else tuple(made)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _instance(kind, value, place)
    if (kind is str and _is_text(value)) or (kind is bool and isinstance(value, bool)):
        return value
    if kind in (int, float) and not isinstance(value, bool):
        if isinstance(value, int) and 0 <= value < 2**63:
            return value if kind is int else float(value)
        if kind is float and isinstance(value, float) and math.isfinite(value) and value >= 0:
            return value
    raise Misfit(f"`{place or 'it'}` must be {_WORDS.get(outer, 'an object')}{also}, got {shown(value)}")


def _instance(kind: type[DataclassInstance], value: dict[object, object], place: str) -> object:
    """An object as an instance of a dataclass."""
    types, fields = get_type_hints(kind), {_key(each): each for each in dataclasses.fields(kind)}
    found: dict[str, object] = {}
    for name in value.keys() - getattr(kind, "GONE", frozenset()):
        if name not in fields:
            raise Misfit(f"this version knows no field `{_below(place, name)}`; a newer one may have written it")
    for name, each in fields.items():
        if name in value:
            found[each.name] = _read(types[each.name], value[name], _below(place, name))
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise Misfit(f"`{_below(place, name)}` is missing")
    make: Callable[..., object] = kind
    return make(**found)


def _key(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata.get("key", field.name))


def _below(place: str, name: object) -> str:
    name = name if isinstance(name, str) and name.isidentifier() else shown(name)
    return f"{place}.{name}" if place else name


def _is_text(value: object) -> bool:
    """Whether it is a text that can be written to a file: JSON may hold halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise Misfit(f"it says `{shown(next(name for name in names if names.count(name) > 1))}` twice in one object")
    return made


def _constant(name: str) -> object:
    raise Misfit(f"it holds {name}, which is no number of JSON")
