"""One text of the corpus, and what goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Message(NamedTuple):
    """One message of a chat: who says it (a word such as `user`), and what."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Document:
    """One text of the corpus.

    Attributes:
        name: path below the corpus root with forward slashes (``code/13.txt``), of a row of a table its `id` or the
            table's path and the row's number (``chats.jsonl:17``); unique in its corpus.
        category: first folder of the name, ``""`` for a file that lies in the root itself; of a row, its `category`.
        text: valid UTF-8, never empty, exactly as in the file; empty only while `messages` are not rendered.
        prompt_bytes: the first so many bytes of the text are context: no token of them is scored.
        group: what several rows have in common, such as their prompt; None if nothing is said.
        label: which completion of its group it is, such as ``"comply"`` or ``"refuse"``.
        special: special tokens that are spelt in the text are parsed; elsewhere they are plain text.
        plain: where they are not parsed all the same: ranges of bytes, the contents of messages.
        opening: the completion is how an answer begins: what a chat template puts behind it is no part of it.
        messages: a chat, which a chat template makes a text of; the last one is the completion.
    """

    name: str
    category: str
    text: bytes
    prompt_bytes: int = 0
    group: str | None = None
    label: str | None = None
    special: bool = False
    plain: tuple[tuple[int, int], ...] = ()
    messages: tuple[Message, ...] = ()
    opening: bool = False
