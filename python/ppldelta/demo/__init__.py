"""The main job on what the package carries: a tiny model family and a corpus of three categories.

The models were trained by the scripts in the repository's `demo/` folder; the documents were written for this
project and were not part of the training.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from ppldelta.errors import PpldeltaError
from ppldelta.run.scoring import score

if TYPE_CHECKING:
    from ppldelta.result import Result

CORPUS = Path(__file__).parent / "corpus"
"""Folder of the demo's documents: `code/`, `multilingual/`, `prose/`."""

MODELS = Path(__file__).parent / "models"
"""Folder of the demo's GGUF files."""

REFERENCE = MODELS / "tiny-ref.Q8_0.gguf"
COMPARISONS = (
    MODELS / "tiny-code.Q8_0.gguf",
    MODELS / "tiny-multilingual.Q8_0.gguf",
    MODELS / "tiny-ref.Q2_K.gguf",
)


def run(*, store: str | os.PathLike[str] | bool | None = True, progress: bool = True) -> Result:
    """Compares the demo's finetunes and its quantised copy with the demo's reference.

    Raises:
        PpldeltaError: the package was installed without the demo's files.
    """
    missing = [path.name for path in (REFERENCE, *COMPARISONS, CORPUS) if not path.exists()]
    if missing:
        raise PpldeltaError(f"the demo's files are missing: {', '.join(missing)}", hint="install ppldelta again")
    return score(CORPUS, REFERENCE, COMPARISONS, store=store, progress=progress)


def open_in_browser(path: Path) -> bool:
    """Opens a file in the user's browser if a person sits in front of one; says whether it did."""
    graphical = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return graphical and sys.stdout.isatty() and webbrowser.open(path.resolve().as_uri())
