"""What a look at a text gives (`ppldelta.look`): arrays, frames, figures, and a page that needs no network."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ppldelta._load import __version__
from ppldelta.analysis.looks import Seen
from ppldelta.saved.files import write_whole
from ppldelta.surroundings import need_threads_of_polars
from ppldelta.wording.names import counted, shown_name

if TYPE_CHECKING:
    from ppldelta.reporting.look_page import LookFigures


@dataclass(frozen=True, eq=False, repr=False)
class Look(Seen):
    """What one model sees in a text, or two: its attributes are those of `ppldelta.analysis.looks.Seen`."""

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name, as `save` writes them: `logp_ref`, `states_cmp`, `distance` and so on."""
        found: dict[str, NDArray[np.generic] | None] = {}
        for what in ("logp", "states", "norms"):
            found |= {f"{what}_{side}": each for side, each in zip(("ref", "cmp"), getattr(self, what), strict=False)}
        found |= {"distance": self.distance, "cosine": self.cosine}
        return {name: each for name, each in found.items() if each is not None}

    @property
    def figures(self) -> LookFigures:
        """Plotly figures by name; see docs/look.md for what each shows."""
        from ppldelta.reporting.look_page import figures_of  # here: plotly takes long to import

        return figures_of(self)

    def html(self, path: str | os.PathLike[str]) -> Path:
        """Writes a page with the figures, which needs no network, and returns its path.

        Raises:
            ResultError: it cannot be written.
        """
        need_threads_of_polars()
        from ppldelta.reporting.look_page import page_of

        write_whole(Path(path), page_of(self, __version__).encode())
        return Path(path)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes `look.html`, the frames as parquet and the arrays as `look.npz` into a folder, and returns it.

        Raises:
            ResultError: something cannot be written.
        """
        folder = Path(folder)
        for name, frame in (("tokens", self.tokens), ("columns", self.columns)):
            parquet = io.BytesIO()
            frame.write_parquet(parquet)
            write_whole(folder / f"{name}.parquet", parquet.getvalue())
        arrays = io.BytesIO()
        np.savez(arrays, allow_pickle=False, **self.arrays)
        write_whole(folder / "look.npz", arrays.getvalue())
        self.html(folder / "look.html")
        return folder

    def __repr__(self) -> str:
        first, *rest = self._sentences
        return "\n".join([f"{first}:", *(f"  {line}" for line in rest)])

    def _repr_html_(self) -> str:
        need_threads_of_polars()
        from ppldelta.reporting import notebook

        first, *rest = self._sentences
        more = (
            f"Its figures are {', '.join(f'`figures[{name!r}]`' for name in self.figures)}; `html(path)` writes a page."
        )
        return notebook.fragment(
            notebook.sentence(f"{first}."),
            *(notebook.sentence(f"{each}.") for each in rest),
            notebook.sentence(more, muted=True),
        )

    @property
    def _sentences(self) -> list[str]:
        """What was looked at, what each model made of it, and how far they are apart."""
        found = self.summary
        names = " and ".join(f"`{shown_name(label)}`" for label in self.models)
        places = counted(found.n_places, "place")
        said = [
            f"{names} on {counted(found.n_places, 'token')} of `{shown_name(self.name)}`, "
            f"{counted(len(self.columns), 'column')} of the vocabulary"
        ]
        for label, ppl, n_top in zip(self.models, found.ppl, found.n_top, strict=True):
            said.append(
                f"{shown_name(label)}: perplexity {ppl:.4g}; the token that came next was the most probable one at "
                f"{n_top} of {places}"
            )
        if found.delta is not None:
            said.append(
                f"delta {found.delta:+.4f} nats per token; the same token is most probable for both at "
                f"{found.n_same_top} of {places}"
            )
        if spread := self.by_depth:
            said.append(
                f"the hidden states that the head gets are {spread.median[-1]:.1%} of their length apart (median)"
            )
        return said
