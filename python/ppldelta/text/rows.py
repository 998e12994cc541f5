"""What a row of a table says: a text, a prompt with a completion, or a chat, and what goes with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ppldelta.text.document import Document, Message
from ppldelta.wording.names import as_utf8

PAIR = frozenset({"prompt", "completion"})
TEXTS = ("text", "prompt", "completion")
NAMES = ("id", "category", "group", "label")
FLAGS = ("special", "opening")
COLUMNS = (*TEXTS, "messages", *NAMES, *FLAGS)
"""Columns that mean something here; others are not read."""

MOST_BYTES = 64 * 2**20
"""Of a row: the tokenizer takes some 30 times as much memory for a text."""

FORMS = (
    'a row is `{"text": "…"}`, `{"prompt": "…", "completion": "…"}` or '
    '`{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}` (docs/prompts.md)'
)
"""What a table may hold, as a hint."""

_ROLE = re.compile(r"[A-Za-z][A-Za-z_-]*\Z")


class BrokenRow(Exception):
    """Why a row is no document; the text goes on where "line 17" ends."""


class BrokenTable(Exception):
    """Why no row of a file can be read; the text follows the file's name."""


def document_of(row: object, name: str, category: str, ignored: set[str]) -> Document:
    """The document that a row stands for.

    Args:
        row: columns by name; None counts as absent.
        name: for a row without `id`.
        category: for a row without `category`.
        ignored: keys of messages that mean nothing here are added to it.

    Raises:
        BrokenRow: it is no document.
    """
    if not isinstance(row, dict):
        raise BrokenRow(f"is {_kind(row)} and no object")
    given = {column for column in ("text", "prompt", "messages") if row.get(column) is not None}
    if len(given) > 1:
        raise BrokenRow(f"has {_listed(sorted(given))}, which exclude one another")
    if not given or (given == {"prompt"} and row.get("completion") is None):
        columns = [key for key, value in row.items() if value is not None]
        said = missing(columns)
        if PAIR.isdisjoint(columns):
            said += f", but {_listed(columns) if columns else 'no columns at all'}"
        raise BrokenRow(said)
    id_, of_category, group, label = (_name(row, column) for column in NAMES)
    special, opening = (_flag(row, column) for column in FLAGS)
    text, prompt_bytes = b"", 0
    messages: tuple[Message, ...] = ()
    if "messages" in given:
        messages = _messages(row["messages"], ignored)
        if special is not None:
            raise BrokenRow("has `special` beside `messages`, of which the chat template decides")
    elif "text" in given:
        text = _text(row, "text")
    else:
        prompt = _text(row, "prompt")
        text, prompt_bytes = prompt + _text(row, "completion"), len(prompt)
    return Document(
        id_ or name,
        category if of_category is None else of_category,
        text,
        prompt_bytes,
        group,
        label,
        bool(special),
        (),
        messages,
        bool(opening),
    )


def missing(columns: Iterable[str]) -> str:
    """What columns lack that are none of the forms of a row; the text goes on where "line 17" ends."""
    for column in PAIR.intersection(columns):
        (other,) = PAIR - {column}
        return f"has a `{column}`, but no `{other}`"
    return "has neither `text`, nor `prompt` and `completion`, nor `messages`"


def _flag(row: Mapping[str, object], column: str) -> bool | None:
    value = row.get(column)
    if value is not None and not isinstance(value, bool):
        raise BrokenRow(f"has {_kind(value)} as `{column}`, where true or false is wanted")
    return value


def _text(row: Mapping[str, object], column: str) -> bytes:
    value = row[column]
    if not isinstance(value, str):
        raise BrokenRow(f"has {_kind(value)} as `{column}`, where a text is wanted")
    if not value:
        more = "; a text without one is a `text`" if column == "prompt" else ""
        raise BrokenRow(f"has an empty `{column}`{more}")
    return _encoded(value, column)


def _encoded(value: str, column: str) -> bytes:
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise BrokenRow(f"has half a surrogate pair in `{column}`, at character {error.start}") from None
    if len(encoded) > MOST_BYTES:
        raise BrokenRow(f"has a `{column}` of {len(encoded):,} bytes; at most {MOST_BYTES:,} are read")
    if (nul := value.find("\0")) >= 0:
        raise BrokenRow(f"has a NUL in `{column}`, at character {nul}")
    return encoded


def _name(row: Mapping[str, object], column: str) -> str | None:
    value = row.get(column)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BrokenRow(f"has {_kind(value)} as `{column}`, where a text or a whole number is wanted")
    return as_utf8(value) if isinstance(value, str) else str(value)


def _messages(value: object, ignored: set[str]) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise BrokenRow(f"has {_kind(value)} as `messages`, where a list of messages is wanted")
    messages = []
    for i, each in enumerate(value):
        if not isinstance(each, dict):
            raise BrokenRow(f"has {_kind(each)} as message {i + 1}, where `role` and `content` are wanted")
        role, content = each.get("role"), each.get("content")
        if not isinstance(role, str) or not _ROLE.match(role):
            raise BrokenRow(f"has {_shown(role)} as `role` of message {i + 1}, where a word such as `user` is wanted")
        if not isinstance(content, str):
            raise BrokenRow(f"has {_kind(content)} as `content` of message {i + 1}, where a text is wanted")
        _encoded(content, "content")
        ignored.update(key for key, more in each.items() if key not in ("role", "content") and more is not None)
        messages.append(Message(role, content))
    if messages[-1].role != "assistant":
        raise BrokenRow(f"ends with a message of `{messages[-1].role}`, where `assistant` is wanted: what is scored")
    if not messages[-1].content:
        raise BrokenRow("has an empty `content` in its last message, which is what is scored")
    if len(messages) == 1:
        raise BrokenRow("has a single message, so that nothing is before what is scored")
    return tuple(messages)


def _shown(value: object) -> str:
    return f"`{as_utf8(value)[:40]}`" if isinstance(value, str) else _kind(value)


def _kind(value: object) -> str:
    """What a value is, in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    if isinstance(value, list) and not value:
        return "an empty list"
    return names.get(type(value), f"a value of type {type(value).__name__}")


def _listed(names: list[str], most: int = 8) -> str:
    shown = [f"`{as_utf8(name)[:40]}`" for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
