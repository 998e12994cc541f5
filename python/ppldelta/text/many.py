"""All windows and batches of a model, in a few arrays.

A run over a table may have a million windows of ten tokens. As objects each would take some kilobyte; here they are
made when they are looked at, as views.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ppldelta.text.ragged import MadeOnDemand, Packer, Ragged, starts_of
from ppldelta.text.windows import Batch, Window


@dataclass(frozen=True, eq=False)
class Windows(MadeOnDemand[Window]):
    """Windows of several documents, in their order.

    Attributes:
        tokens: of each window, int32.
        targets: of each, int32.
        pos: of all targets, uint32, as `targets.values` has them.
        prefix: of each, int32.
        flash: of each, bool.
        document: of each the index of its document, int32, never falling.
        names: of the documents.
    """

    tokens: Ragged[np.int32]
    targets: Ragged[np.int32]
    pos: NDArray[np.uint32]
    prefix: NDArray[np.int32]
    flash: NDArray[np.bool_]
    document: NDArray[np.int32]
    names: Sequence[str]

    @staticmethod
    def of(documents: Iterable[tuple[str, Sequence[Window]]]) -> Windows:
        """The windows of documents, each with its name."""
        tokens, targets, pos = Packer[np.int32](np.int32), Packer[np.int32](np.int32), Packer[np.uint32](np.uint32)
        prefix, flash, document, names = array("i"), bytearray(), array("i"), list[str]()
        for name, windows in documents:
            for each in windows:
                tokens.add(each.tokens)
                targets.add(each.targets)
                pos.add(each.pos)
                prefix.append(each.prefix)
                flash.append(each.flash)
                document.append(len(names))
            names.append(name)
        return Windows(
            tokens=tokens.packed(),
            targets=targets.packed(),
            pos=pos.packed().values,
            prefix=np.array(prefix, np.int32),
            flash=np.array(flash, np.bool_),
            document=np.array(document, np.int32),
            names=names,
        )

    def taken(self, at: NDArray[np.int64]) -> Windows:
        """A copy of some windows, which knows no other documents."""
        used, document = np.unique(self.document[at], return_inverse=True)
        return Windows(
            self.tokens.taken(at),
            self.targets.taken(at),
            self.pos[self.targets.places(at)],
            self.prefix[at],
            self.flash[at],
            document.astype(np.int32),
            [self.names[i] for i in used.tolist()],
        )

    @property
    def n_fed(self) -> NDArray[np.int64]:
        """Tokens that the model reads of each."""
        return self.tokens.lengths

    @cached_property
    def before(self) -> NDArray[np.int64]:
        """For each document the number of windows before its own, and at the end that of all."""
        return starts_of(np.bincount(self.document, minlength=len(self.names)))

    def name_of(self, i: int) -> str:
        """The document of a window."""
        return self.names[int(self.document[i])]

    def __len__(self) -> int:
        return len(self.prefix)

    def at_index(self, i: int) -> Window:
        tokens, targets = self.tokens[i], self.targets[i]
        pos = self.pos[self.targets.starts[i] : self.targets.starts[i + 1]]
        return Window(tokens, len(tokens) - len(targets), targets, pos, int(self.prefix[i]), bool(self.flash[i]))


@dataclass(frozen=True, eq=False)
class Batches(Sequence[Batch]):
    """Batches of a model's windows.

    Attributes:
        windows: which the batches are made of, all of the model's or some.
        which: of each batch, one behind the other, the places of its windows in `windows`, int64.
        at: likewise their indices among all windows of the model, int64.
        starts: where each batch begins there, and where the last one ends, int64 of shape [n_batches + 1].
    """

    windows: Windows
    which: NDArray[np.int64]
    at: NDArray[np.int64]
    starts: NDArray[np.int64]

    @staticmethod
    def of(batches: Sequence[Batch]) -> Batches:
        """The same batches."""
        if isinstance(batches, Batches):
            return batches
        at = np.array([i for batch in batches for i in batch.at], np.int64)
        starts = starts_of(np.array([len(batch.at) for batch in batches], np.int64))
        return Batches(Windows.of((batch.document, batch.windows) for batch in batches), np.arange(len(at)), at, starts)

    @property
    def n_fed(self) -> NDArray[np.int64]:
        """Of each batch `Batch.n_fed`."""
        n_more = np.diff(self.starts) - 1
        prefix = self.windows.prefix[self.which[self.starts[:-1]]]
        n_fed: NDArray[np.int64] = self._sums(self.windows.n_fed) - prefix * n_more
        return n_fed

    @property
    def n_scored(self) -> NDArray[np.int64]:
        """Of each batch `Batch.n_scored`."""
        return self._sums(self.windows.targets.lengths)

    @property
    def names(self) -> list[str]:
        """Of each batch `Batch.document`."""
        names = self.windows.names
        return [names[i] for i in self.windows.document[self.which[self.starts[:-1]]].tolist()]

    def only(self, wanted: NDArray[np.int64]) -> Batches:
        """The batches, reduced to the windows with these indices; a batch that has none of them is left out."""
        keep = np.isin(self.at, wanted)
        n_left = np.add.reduceat(keep, self.starts[:-1], dtype=np.int64) if len(self) else np.empty(0, np.int64)
        return Batches(self.windows, self.which[keep], self.at[keep], starts_of(n_left[n_left > 0]))

    def by_context(self) -> Batches:
        """The same, those with flash attention first: a context has it or not, and is made anew where that changes."""
        flash = self.windows.flash[self.which[self.starts[:-1]]]
        if (flash[1:] <= flash[:-1]).all():
            return self
        order = np.argsort(~flash, kind="stable")
        which = Ragged(self.which, self.starts).taken(order)
        return Batches(self.windows, which.values, Ragged(self.at, self.starts).taken(order).values, which.starts)

    def split(self, n_scored: int) -> Batches:
        """`Batch.split` of each."""
        if not len(self) or self.n_scored.max() <= n_scored:
            return self
        return Batches.of([part for batch in self for part in batch.split(n_scored)])

    def _sums(self, of_windows: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self):
            return np.empty(0, np.int64)
        sums: NDArray[np.int64] = np.add.reduceat(of_windows[self.which], self.starts[:-1])
        return sums

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, i: int) -> Batch: ...
    @overload
    def __getitem__(self, i: slice) -> Batches: ...
    def __getitem__(self, i: int | slice) -> Batch | Batches:
        """A batch, or some that follow one another, with copies of their windows and no others."""
        if isinstance(i, slice):
            begin, end, step = i.indices(len(self))
            if step != 1:
                raise ValueError("batches are taken one after the other")
            some = slice(self.starts[begin], self.starts[max(begin, end)])
            windows = self.windows.taken(self.which[some])
            starts = self.starts[begin : max(begin, end) + 1]
            return Batches(windows, np.arange(len(windows)), self.at[some], starts - starts[0])
        i = range(len(self))[i]
        some = slice(self.starts[i], self.starts[i + 1])
        which = self.which[some].tolist()
        return Batch(
            self.windows.name_of(which[0]), tuple(self.at[some].tolist()), tuple(self.windows[k] for k in which)
        )
