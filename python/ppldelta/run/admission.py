"""Which comparisons of a job can be judged against its reference, and how each of them reads the documents.

A comparison that splits the documents as the reference does shares its tokenization, its windows and its rule for the
beginning of a text. Another one is refused, or with `align="bytes"` reads them in its own way.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ppldelta.console.progress import watched
from ppldelta.engine.remote import RemoteModel
from ppldelta.errors import CorpusError, LeftOut, ModelError
from ppldelta.run import cautions, checks
from ppldelta.run.chats import as_texts
from ppldelta.run.common_spans import common_stretch, shared_documents
from ppldelta.run.keys import Keys
from ppldelta.run.memory import Memory
from ppldelta.run.settings import ResolvedSettings, Settings
from ppldelta.run.tokenization import Tokenization, as_tokenization, cut_prompts, prompt_tokens, tokenizing
from ppldelta.text.documents import Document
from ppldelta.text.ragged import Ragged
from ppldelta.wording.names import counted, printable, quoted


@dataclass(frozen=True, eq=False)
class Reading:
    """How a model reads the documents.

    Attributes:
        settings: resolved for the model whose tokenization it is.
        tokenization: the documents in its tokens.
        keys: of its windows.
    """

    settings: ResolvedSettings
    tokenization: Tokenization
    keys: Keys


@dataclass(frozen=True, eq=False)
class Admission:
    """Admits the comparisons of a job, one after the other.

    Attributes:
        asked: the settings, before they are resolved.
        reference: the model that is the yardstick.
        reading: how it reads the documents.
        corpus: `keys.corpus_hash` of its tokenization.
        memory: what is known of models without loading them.
        chats: the documents before a chat template made texts of them, if each model with a template of its own reads
            what that makes of them.
        warnings: sentences for the reader.
        failures: what the comparisons failed with that are left out.
        admitted: the comparisons that are not, with what they say of themselves.
        alike: those of them that share the reference's tokenization.
    """

    asked: Settings
    reference: RemoteModel
    reading: Reading
    corpus: str
    memory: Memory
    chats: Sequence[Document] = ()
    warnings: list[str] = field(default_factory=list)
    failures: list[ModelError] = field(default_factory=list)
    admitted: list[cautions.Said] = field(default_factory=list)
    alike: list[cautions.Said] = field(default_factory=list)

    def admit(self, comparison: RemoteModel) -> Reading | None:
        """How a comparison reads the documents; None if it cannot be judged, which is a failure and a warning.

        It is not asked again for what the store knows of it.

        Raises:
            TokenizerMismatchError: it splits a document into other tokens, and `align` is "tokens".
        """
        try:
            return self._admitted(comparison)
        except ModelError as error:  # such as a damaged file; the others go on
            self.failures.append(error)
            self.warnings.append(checks.left_out(comparison.label, error))
            return None

    def cautions(self) -> list[str]:
        """Warnings about the tokenizers of the reference and of what is admitted."""
        own = self.reference.label, self.reference.info
        return cautions.no_pre_tokenizer([own, *self.admitted]) + cautions.unlike(
            own, self.alike, templates=not self.asked.chat_template
        )

    def _admitted(self, comparison: RemoteModel) -> Reading:
        reading, memory, label = self.reading, self.memory, comparison.label
        sha256 = memory.hashes.known(comparison.source)
        info = memory.description(sha256)
        rendered = self._rendered(comparison)
        is_stored = sha256 is not None and info is not None and memory.has_all(reading.keys.of(sha256))
        if rendered is not None:
            info = comparison.look()
            checks.refuse_unscorable(info, label)
            with tokenizing(rendered, memory.progress) as bar:
                tokens = comparison.tokenize(rendered, bar.update)
            reading = self._own(comparison, rendered, tokens)
        elif info is None or sha256 is None or not is_stored or not memory.is_checked(sha256, self.corpus):
            info = comparison.info if is_stored else comparison.look()
            checks.refuse_unscorable(info, label)
            documents = reading.tokenization.texts
            with tokenizing(documents, memory.progress) as bar:
                tokens = comparison.tokenize(documents, bar.update)
            other = checks.first_other_token(reading.tokenization, tokens)
            if other and self.asked.align == "tokens":
                checks.refuse_other_tokens(other, label, comparison, self.reference.label, self.reference)
            if other:
                reading = self._own(comparison, documents, tokens)
        self.warnings.extend(checks.beyond_training(info, label, reading.tokenization.longest))
        self.admitted.append((label, info))
        if reading is self.reading:
            self.alike.append((label, info))
            self.warnings.extend(checks.other_bos(label, info, self.reference.label, self.reference.info))
        return reading

    def _rendered(self, comparison: RemoteModel) -> list[Document] | None:
        """The documents as the comparison's own chat template makes them; None if it has none, or the reference's.

        Raises:
            ModelError: it makes no text of any.
        """
        if not self.chats:
            return None
        own = comparison.chat_facts().template
        if own is None or own == self.reference.chat_facts().template:
            return None
        there = {each.name for each in self.reading.tokenization.texts}
        try:
            made = as_texts([each for each in self.chats if each.name in there], comparison, True)
        except CorpusError as error:
            raise ModelError(f"the chat template of `{printable(comparison.label)}`: {error.message}") from None
        return made.documents

    def _own(self, comparison: RemoteModel, documents: Sequence[Document], tokens: Ragged[np.int32]) -> Reading:
        """How a comparison reads the documents in its own way, without those that cannot be compared.

        Args:
            comparison: with another tokenizer than the reference's, or another chat template.
            documents: as it reads them.
            tokens: of each.

        Raises:
            ModelError: none of them can.
        """
        label, info, reference = comparison.label, comparison.info, self.reading.tokenization
        settings = self.asked.resolve(info, comparison.build)
        progress, n_prompts = self.memory.progress, prompt_tokens(documents, tokens, comparison)
        read, too_short, cut = as_tokenization(documents, tokens, n_prompts, comparison, settings, progress)
        if read is None:
            raise ModelError(f"no document is long enough to score for `{printable(label)}`")
        made = {each.name for each in documents}
        without = {
            _SHORT: [each.document.name for each in too_short],
            _UNMADE: [each.name for each in reference.texts if each.name not in made],
            _ALTERED: [],
            _APART: [],
        }
        kept, at = array("q"), read.places_in(reference)
        found = shared_documents(reference, read, at)
        for each in watched(found, "aligning tokens", len(at), "document", visible=progress):
            if not each.spelt or not len(each.scored):
                without[_APART if each.spelt else _ALTERED].append(read.texts[each.cmp].name)
            else:
                kept.append(each.cmp)
        places = np.array(kept, np.int64)
        texts = [(reference.texts[at[k]], read.texts[k]) for k in kept]
        for reason, names in without.items():
            if names:
                shown = quoted(names)
                what = f"{counted(len(names), 'document')}, {reason}: {shown}"
                self.warnings.append(LeftOut(f"`{printable(label)}` is compared without {what}.", "document", *names))
        if not kept:
            raise ModelError(
                f"`{printable(label)}` has another tokenizer than the reference, and no document can be compared",
                hint="where a tokenizer normalises texts, nobody can tell which bytes a token covers",
            )
        if len(kept) < len(read.texts):
            own_texts, own_tokens = [own for _, own in texts], read.documents.tokens.taken(places)
            n_prompts = prompt_tokens(own_texts, own_tokens, comparison)
            read = as_tokenization(own_texts, own_tokens, n_prompts, comparison, settings, progress).whole
            assert read is not None
        self.warnings.extend(cut_prompts(cut, settings.n_ctx) + _in_part(label, texts))
        return Reading(settings, read, Keys(settings, info, comparison.build, read.batches, progress))


_SHORT = "too short to score in its tokens"
_UNMADE = "of which its chat template makes no text"
_ALTERED = "whose text does not survive its tokenizer or the reference's"
_APART = "of which both score no common stretch"


def _in_part(label: str, texts: list[tuple[Document, Document]]) -> list[str]:
    """A warning if two chat templates do not write the same completion, such as one that takes spaces off its end.

    Args:
        label: the comparison's.
        texts: of each document what the reference reads and what the comparison does.
    """
    names = [one.name for one, other in texts if one.text != other.text and not common_stretch(one, other).whole]
    if not names:
        return []
    shown = quoted(names)
    return [
        f"`{printable(label)}` is compared on a part of {counted(len(names), 'completion')}, which its chat template "
        f"and the reference's write differently: {shown}."
    ]
