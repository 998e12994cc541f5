"""What goes wrong with a model on the hub, in one clear line with the next step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.models.hub import HubName
from ppldelta.models.hub_cache import cache_folder
from ppldelta.wording import numbers
from ppldelta.wording.names import printable, quoted

INSTALL = "pip install 'ppldelta[hub]'"
_LOG_IN = "log in with `hf auth login`, or let HF_TOKEN hold a token"
_WORTH_ANOTHER_TRY = (408, 500, 502, 503, 504)
_MOST_LISTED = 8


class UnreachableError(ModelError):
    """The hub does not answer, or may not be asked; the cache may have what is wanted."""

    def with_held(self, files: Sequence[str]) -> UnreachableError:
        """The same, with the files of the repository that the cache does hold."""
        if not files:
            return self
        held = quoted(files, _MOST_LISTED)
        return UnreachableError(f"{self.message}; of this repository it holds {held}", hint=self.hint)


@contextmanager
def translated(name: HubName) -> Iterator[None]:
    """Makes errors of ours of what huggingface_hub raises within, and keeps its log lines back.

    Raises:
        ModelError: huggingface_hub is missing, or raised something.
    """
    try:
        from huggingface_hub import hf_raise_for_status as hf_raise_for_status  # version 0 has it elsewhere
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise ModelError(
            f"there is no file `{name}`, and to look for it on the Hugging Face hub the package `huggingface_hub` is "
            f"needed, which cannot be imported: {error}",
            hint=INSTALL,
        ) from None
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logger.setLevel(logging.ERROR)
    try:
        yield
    except LocalEntryNotFoundError as error:  # it looked into the cache when the hub had not answered
        raise _translated(name, error.__cause__ or error) from error
    except HfHubHTTPError as error:
        raise _translated(name, error) from error
    except HFValidationError as error:
        raise ModelError(f"`{name}` is no name on the hub: {first_line(error)}") from error
    except transient() as error:
        raise _translated(name, error) from error
    finally:
        logger.setLevel(before)


def transient() -> type[Exception]:
    """The base of all that huggingface_hub's HTTP library raises: that of httpx in its version 1, of httpx2 in 2."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def is_worth_another_try(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    status = _status(error)
    return status is None or status in _WORTH_ANOTHER_TRY


def first_line(error: BaseException) -> str:
    """What an error says, in a line."""
    lines = str(error).split("\n", 1)
    return printable(lines[0].strip()) or type(error).__name__


def offline(name: HubName, cache: Path) -> UnreachableError:
    """HF_HUB_OFFLINE is set."""
    return UnreachableError(
        f"there is no file `{name}`, HF_HUB_OFFLINE is set, and the hub's cache `{printable(cache)}` does not hold it",
        hint="unset HF_HUB_OFFLINE, so that it can be downloaded, or name a file",
    )


def full_disk(name: HubName, cache: Path, figures: str | None = None) -> ModelError:
    """The disk has no room for a model."""
    return ModelError(
        f"the disk of the hub's cache `{printable(cache)}` has no room for `{name}`"
        + (f": {figures}" if figures else ""),
        hint="make room, or let LLAMA_CACHE or HF_HOME name a folder on another disk",
    )


def broken_off(name: HubName, path: str, n_bytes: int, of_bytes: int, why: str) -> ModelError:
    """A transfer that was tried again and again."""
    return ModelError(
        f"the download of `{printable(path)}` from the repository `{name.repo}` broke off after "
        f"{numbers.size(n_bytes)} of {numbers.size(of_bytes)}: {why}",
        hint="run the same command again: it goes on from there",
    )


def _status(error: BaseException) -> int | None:
    """The HTTP status that the hub answered with; None if it did not answer."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def _header(error: BaseException, header: str) -> str | None:
    headers = getattr(getattr(error, "response", None), "headers", {})
    value = headers.get(header)
    return str(value) if value is not None else None


def _translated(name: HubName, error: BaseException) -> ModelError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    status = _status(error)
    if isinstance(error, RevisionNotFoundError):
        return ModelError(
            f"the repository `{name.repo}` has no revision `{printable(name.revision or '')}`",
            hint="name one of its branches or tags, or a commit",
        )
    if isinstance(error, GatedRepoError):
        return ModelError(
            f"the repository `{name.repo}` is gated: its owner decides who may download it",
            hint=f"ask for access on its page on the hub, then {_LOG_IN}",
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            f"there is no file `{name}`, and no public repository `{name.repo}` on the Hugging Face hub",
            hint=f"look for a slip in the name; if the repository is private, {_LOG_IN}",
        )
    if status in (401, 403):
        return ModelError(f"the hub does not give `{name}` to this user ({status})", hint=_LOG_IN)
    if status == 429:
        wait = _header(error, "Retry-After")
        again = f"{wait} s" if wait and wait.isdigit() else wait
        return UnreachableError(
            f"the hub refuses `{name}` because of too many requests (429)"
            + (f"; it asks to retry after {again}" if again else ""),
            hint=f"run the same command again later; with a token more requests are allowed: {_LOG_IN}",
        )
    if status is not None:
        refusal = f"the hub answered the request for `{name}` with status {status}: {first_line(error)}"
        kind = UnreachableError if status in _WORTH_ANOTHER_TRY else ModelError
        return kind(refusal, hint="run the same command again later")
    return UnreachableError(
        f"there is no file `{name}`, and the Hugging Face hub cannot be reached: {first_line(error)}",
        hint="see the network and what HF_ENDPOINT names; a model that is in "
        f"`{printable(cache_folder())}` needs neither",
    )
