"""Chats become texts, by a chat template; and what of texts is not what their author may have meant.

A text is made once, for all models, by the reference's template: each model is asked for the same text. A comparison
whose own template differs is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ppldelta.engine.chats import ChatFacts, Rendered
from ppldelta.errors import CorpusError, LeftOut, ModelError
from ppldelta.text.document import Document, Message
from ppldelta.text.special import SpecialTokens
from ppldelta.wording.names import counted, printable, quoted

_HINT = "`chat_template=FILE` (`--chat-template-file FILE`) names one, in Jinja"
_MEND = (
    "mend `{file}`, or name another one: llama.cpp's Jinja engine has to know what it uses, and its text of all "
    "messages has to begin with that of the messages before the last one and the generation prompt"
)


class Chatting(Protocol):
    """What is needed of a model for chats; `engine.remote.RemoteModel` has it."""

    @property
    def label(self) -> str: ...

    def chat_facts(self) -> ChatFacts: ...

    def render(
        self,
        template: str,
        chats: Sequence[Sequence[Message]],
        names: Sequence[str],
        on_chats: Callable[[int], object],
    ) -> list[Rendered | str]: ...


@dataclass(frozen=True)
class Texts:
    """Documents of which every one is a text.

    Attributes:
        documents: the same in the same order, without those that no text can be made of.
        warnings: sentences for the reader.
    """

    documents: list[Document]
    warnings: list[str]


def as_texts(
    documents: list[Document],
    model: Chatting,
    template: bool | str,
    on_chats: Callable[[int], object] = lambda n_chats: None,
) -> Texts:
    """The documents, with texts in place of chats.

    Args:
        documents: of the corpus.
        model: the reference, which renders.
        template: True for its own chat template, the path of a file that holds another, or False for none. With one,
            a prompt and its completion are a chat as well: a message of the user, and one of the assistant. Not so
            those that are `special`: a template was applied to them before.
        on_chats: called with the number of chats that were rendered since the last call.

    Raises:
        CorpusError: there are chats and no template, or no text can be made of anything.
        ModelError: the template is missing, cannot be read, or cannot be parsed.
    """
    if not template:
        if waiting := [each.name for each in documents if each.messages]:
            raise CorpusError(
                f"{quoted(waiting)} {'are chats' if waiting[1:] else 'is a chat'} (`messages`), and only a template "
                "makes a text of one",
                hint="`chat_template=True` (`--chat-template`) applies the reference's own",
            )
        return Texts(documents, _spelt_in(documents, model))
    source = _read(template) if isinstance(template, str) else model.chat_facts().template
    if source is None:
        raise ModelError(f"`{printable(model.label)}` has no chat template", hint=_HINT)
    at = [i for i, each in enumerate(documents) if each.messages or (each.prompt_bytes and not each.special)]
    as_they_are = [each.name for each in documents if each.prompt_bytes and each.special]
    warnings: list[str] = []
    if as_they_are:
        verb = "say" if as_they_are[1:] else "says"
        warnings.append(
            f'{quoted(as_they_are)} {verb} `"special": true`, that a chat template was applied before: it is not '
            "applied again."
        )
    if not at:
        if not as_they_are:
            warnings.append(
                "The chat template is applied to nothing: no document has `messages`, or `prompt` and `completion`."
            )
        return Texts(documents, warnings + _spelt_in(documents, model))
    chats = [documents[i].messages or _as_chat(documents[i]) for i in at]
    kept: list[Document | None] = list(documents)
    failed: list[str] = []
    reason = ""
    for i, rendered in zip(at, model.render(source, chats, [documents[i].name for i in at], on_chats), strict=True):
        if documents[i].opening and not isinstance(rendered, str):
            rendered = _without_end(rendered)
        if isinstance(rendered, str):
            reason = reason or rendered
            failed.append(documents[i].name)
            kept[i] = None
            continue
        kept[i] = replace(
            documents[i],
            text=rendered.text,
            prompt_bytes=rendered.prompt_bytes,
            special=True,
            plain=rendered.plain,
            messages=(),
        )
    left = [each for each in kept if each is not None]
    if not left:
        hint = _MEND.format(file=printable(template)) if isinstance(template, str) else _HINT
        raise CorpusError(f"no text can be made of {quoted(failed)}: {reason}", hint=hint)
    if failed:
        verb = "are" if failed[1:] else "is"
        warnings.append(LeftOut(f"{quoted(failed)} {verb} left out: {reason.removesuffix('.')}.", "document", *failed))
    return Texts(left, warnings + _spelt_in(left, model))


def other_templates(models: Sequence[Chatting], template: bool | str, *, own: bool = False) -> list[str]:
    """Warnings that name the comparisons whose own chat template is not the reference's.

    Args:
        models: the reference first.
        template: as for `as_texts`.
        own: whether each model that has a template reads what it makes.
    """
    if template is not True:
        return []
    reference, *comparisons = models
    applied = reference.chat_facts().template
    others = [each.label for each in comparisons if each.chat_facts().template != applied]
    asked = [each.label for each in comparisons if own and each.chat_facts().template not in (applied, None)]
    others = [label for label in others if label not in asked]
    if asked:
        is_asked = "are asked by chat templates of their own" if asked[1:] else "is asked by a chat template of its own"
        warnings = [f"{quoted(asked)} {is_asked}: of the reference's texts only the completions are compared."]
        return warnings + other_templates([reference, *(each for each in comparisons if each.label in others)], True)
    if not others:
        return []
    bare = [each.label for each in comparisons if each.label in others and each.chat_facts().template is None]
    other = [label for label in others if label not in bare]
    clauses = []
    if other:
        clauses.append(f"{quoted(other)} {'have' if other[1:] else 'has'} another chat template")
    if bare:
        clauses.append(f"{quoted(bare)} {'have' if bare[1:] else 'has'} no chat template")
    return [f"{', and '.join(clauses)}: all models read what the template of `{printable(reference.label)}` makes."]


def _spelt_in(documents: Iterable[Document], model: Chatting) -> list[str]:
    """Warnings if texts, or contents of messages, spell special tokens that are read as plain text."""
    special = SpecialTokens(model.chat_facts().control_tokens)
    texts, contents = _Spelt(), _Spelt()
    for each in documents:
        if not each.special:
            texts.add(special, each.text, ((0, len(each.text)),))
        elif each.plain:
            contents.add(special, each.text, each.plain)
    return [
        *texts.said(
            "Texts spell special tokens of the vocabulary",
            "; rows with `messages` and a chat template (`chat_template=True`, `--chat-template`) have them where they "
            'belong, and of rows that say `"special": true` they are parsed',
        ),
        *contents.said(
            "Messages spell special tokens of the vocabulary", ": only those of the chat template are parsed"
        ),
    ]


class _Spelt:
    """Special tokens that were found in texts."""

    def __init__(self) -> None:
        self._n = 0
        self._names: dict[bytes, None] = {}

    def add(self, special: SpecialTokens, text: bytes, ranges: Sequence[tuple[int, int]]) -> None:
        """Looks for them in ranges of a document's text."""
        parts = (text[low:high] for low, high in ranges)
        found = [part[begin:end] for part in parts for begin, end in special.found(part)]
        self._n += bool(found)
        self._names |= dict.fromkeys(found)

    def said(self, what: str, then: str) -> list[str]:
        """A sentence, if there are any."""
        if not self._n:
            return []
        names = quoted([name.decode("utf-8", "backslashreplace") for name in self._names], 3)
        return [f"{what} in {counted(self._n, 'document')} ({names}), which are read as plain text{then}."]


def _without_end(rendered: Rendered) -> Rendered | str:
    """The same without what the template puts behind the last message, or why that cannot be told apart."""
    end = rendered.plain[-1][1] if rendered.plain else 0
    if end <= rendered.prompt_bytes:
        return "the chat template does not write the last message as it is, and nobody can tell where an opening ends"
    return replace(rendered, text=rendered.text[:end])


def _as_chat(document: Document) -> tuple[Message, ...]:
    text, n = document.text, document.prompt_bytes
    return Message("user", text[:n].decode()), Message("assistant", text[n:].decode())


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ModelError(
            f"the chat template `{printable(path)}` cannot be read: {reason}",
            hint="`chat_template=FILE` (`--chat-template-file FILE`) takes a file that holds a template in Jinja, and "
            "`chat_template=True` (`--chat-template`) the reference's own template",
        ) from None
