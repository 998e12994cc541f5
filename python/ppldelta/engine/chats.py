"""A model's chat template, and texts in which special tokens are spelt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ppldelta import _core
from ppldelta.engine.native import Model
from ppldelta.errors import ModelError
from ppldelta.text.document import Message
from ppldelta.text.special import SpecialTokens, Spelt
from ppldelta.wording.names import printable


@dataclass(frozen=True)
class ChatFacts:
    """What a model says of chats.

    Attributes:
        template: its chat template, in Jinja; None if its file has none.
        control_tokens: how its vocabulary spells the tokens that a text holds only where they are parsed.
    """

    template: str | None
    control_tokens: list[bytes]


@dataclass(frozen=True)
class Rendered:
    """A chat as a text.

    Attributes:
        text: UTF-8, without the BOS that the window rules put in front.
        prompt_bytes: its first so many bytes are what stands before the last message's answer.
        plain: ranges of bytes that are contents of messages.
    """

    text: bytes
    prompt_bytes: int
    plain: tuple[tuple[int, int], ...]


class Chats:
    """What a model makes of chats.

    Args:
        model: with or without weights.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    @cached_property
    def facts(self) -> ChatFacts:
        """What it says of chats."""
        core = self._model._core
        return ChatFacts(core.chat_template().decode("utf-8", "replace") or None, core.control_tokens())

    @cached_property
    def _special(self) -> SpecialTokens:
        return SpecialTokens(self.facts.control_tokens)

    def tokenize(self, spelt: Spelt) -> NDArray[np.int32]:
        """Tokens of a text, as `Model.tokenize` gives them, with special tokens where they are parsed."""
        tokens = [self._model.tokenize(text, special=parsed) for text, parsed in self._special.pieces(spelt)]
        return tokens[0] if len(tokens) == 1 else np.concatenate([np.empty(0, np.int32), *tokens])

    def render(self, source: str, chats: Sequence[Sequence[Message]]) -> list[Rendered | str]:
        """Each chat as a text, or why it is none.

        The completion is what the text of all messages has beyond that of the messages before the last one with the
        generation prompt: the last answer and what the template puts behind it.

        Args:
            source: a chat template.
            chats: at least two messages each.

        Raises:
            ModelError: the template cannot be parsed.
        """
        try:
            template = _parsed(source)
        except RuntimeError as error:
            raise ModelError(
                f"the chat template cannot be parsed: {_cause(error)}",
                hint="name another one: `chat_template=FILE`, `--chat-template-file FILE`",
            ) from None
        return [self._rendered(template, chat) for chat in chats]

    def _rendered(self, template: _core.ChatTemplate, chat: Sequence[Message]) -> Rendered | str:
        bos, eos = self._ends
        try:
            parts = template.render([tuple(each) for each in chat], False, bos, eos)
            before = template.render([tuple(each) for each in chat[:-1]], True, bos, eos)
        except RuntimeError as error:
            return f"the chat template fails: {_cause(error)}"
        whole, prompt = (b"".join(text for text, _ in each) for each in (parts, before))
        if not whole.startswith(prompt):
            at = next((i for i, (a, b) in enumerate(zip(whole, prompt, strict=False)) if a != b), len(whole))
            return (
                "the template's text of all messages does not begin with that of the messages before the last: "
                f"{_shown(whole[at:])} instead of {_shown(prompt[at:])} at byte offset {at}"
            )
        if len(whole) == len(prompt):
            return "the chat template writes nothing of the last message"
        n_bos = len(bos) if self._model.info.add_bos and bos and prompt.startswith(bos) else 0
        ranges, at = [], -n_bos
        for text, content in parts:
            if content:
                ranges.append((at, at + len(text)))
            at += len(text)
        return Rendered(whole[n_bos:], len(prompt) - n_bos, tuple(ranges))

    @cached_property
    def _ends(self) -> tuple[bytes, bytes]:
        """How BOS and EOS are spelt; empty where the vocabulary has none."""
        info = self._model.info
        bos, eos = (
            b"" if token is None else self._model.pieces(np.array([token], np.int32))[0]
            for token in (info.bos, info.eos)
        )
        return bos, eos


@lru_cache(maxsize=4)
def _parsed(source: str) -> _core.ChatTemplate:
    return _core.ChatTemplate(source)


def _cause(error: RuntimeError) -> str:
    """What the engine says without its trace: what the template raised, or else the last line."""
    text = str(error).strip()
    _, raised, said = text.rpartition("Jinja Exception: ")
    lines = [line.removeprefix("Error: ").strip() for line in (said if raised else text).splitlines()]
    return printable(next((line for line in reversed(lines) if line.strip("^ ")), type(error).__name__))


def _shown(text: bytes) -> str:
    return f"`{printable(text[:24].decode('utf-8', 'replace'))}`" if text else "its end"
