"""What a call needs of the process that it runs in, refused by name where it would otherwise fail without a reason."""

from __future__ import annotations

import os
import sys

from ppldelta import posix
from ppldelta.errors import PpldeltaError

_forked_from_polars = False


def _note_fork() -> None:
    global _forked_from_polars
    _forked_from_polars = _forked_from_polars or "polars" in sys.modules


posix.at_fork(_note_fork)  # this module is imported with the package, and so before a fork that it shall see


def need_threads_of_polars() -> None:
    """To be called before frames are used.

    Raises:
        PpldeltaError: this process was forked from one that had loaded polars. The threads of polars are not in it,
            and it would wait for them for ever.
    """
    if _forked_from_polars:
        raise PpldeltaError(
            "this process was forked from one that had loaded polars, whose threads a fork does not have: "
            "ppldelta would wait for them for ever",
            hint='start it by "spawn" or "forkserver" (`multiprocessing.get_context("spawn")`), '
            "or fork before polars is imported and anything of ppldelta is called",
        )


def need_working_folder() -> None:
    """To be called before a process is started or a relative path is used.

    Raises:
        PpldeltaError: the folder that this process works in was removed.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise PpldeltaError(
            f"there is no working folder: {error.strerror}",
            hint="it was removed or may not be read; change to another one, and start again",
        ) from error
