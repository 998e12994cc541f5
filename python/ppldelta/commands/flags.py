"""Flags that several commands of the command line share, and the readers of their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ppldelta.reporting.budget import DEFAULT_VIEWS
from ppldelta.run.setting import INT_MAX
from ppldelta.run.settings import SETTINGS


def add_setting(command: argparse.ArgumentParser, name: str, default: object) -> None:
    known = SETTINGS[name]
    if isinstance(default, bool):
        command.add_argument(*known.flags, dest=name, action="store_true", help=known.help)
        return
    command.add_argument(
        *known.flags,
        dest=name,
        type=str if known.choices else _whole(known.least, known.most or INT_MAX, known.words),
        choices=known.choices,
        default=default,
        metavar=known.metavar,
        help=known.help,
    )


def _whole(least: int, most: int, default: tuple[str, ...]) -> Callable[[str], int | None]:
    """A whole number in a range, or what stands for the default, as in llama.cpp."""

    def read(text: str) -> int | None:
        if text in default:
            return None
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            others = "".join(f" or `{word}`" for word in default)
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}{others}, got `{text}`")
        return value

    return read


def not_negative(text: str) -> float:
    """A number of days or megabytes."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number that is not negative, got `{text}`")
    return value


def add_dask(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="evaluate on the workers of the Dask cluster whose scheduler is there, such as tcp://HOST:8786; they need "
        "the same ppldelta, and the model files under the same paths",
    )


def add_strict_and_quiet(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--strict",
        action="store_true",
        help="end with status 1 also if a document or a folder was left out, as for a comparison that failed",
    )
    command.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def add_store(command: argparse.ArgumentParser) -> None:
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--store",
        type=Path,
        default=True,
        metavar="FILE",
        help="where evaluations are kept, so that none is made twice (default: what PPLDELTA_STORE names, else a file "
        "in your cache folder)",
    )
    where.add_argument("--no-store", dest="store", action="store_const", const=None, help="keep no evaluations")


def add_tokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tokens",
        type=_views,
        default=DEFAULT_VIEWS,
        metavar="N|all",
        help="documents that the report shows token by token: the N that changed most and those with a listed passage, "
        "as far as one file has room (default: %(default)s)",
    )


def _views(text: str) -> int | str:
    """A number of documents, or `all`."""
    if text == "all" or (text.isascii() and text.isdigit()):
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"must be a number of documents or `all`, got `{text}`")
