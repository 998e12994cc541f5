"""The tokens that gained and lost most in sum, as the page lists them; where records are spans, the texts of spans."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ppldelta.analysis.totals import TokenTotal, token_totals
from ppldelta.reporting.blocks import Json
from ppldelta.reporting.family import FamilyRecords


def totals(family: FamilyRecords) -> list[dict[str, list[dict[str, Json]]]]:
    """For each model the tokens that gained and lost most in sum; a span of several tokens has no number."""
    found: list[dict[str, list[dict[str, Json]]]] = []
    documents = np.repeat(np.arange(len(family.documents), dtype=np.int32), np.diff(family.records.offsets))
    for m, delta in enumerate(family.records.delta):
        rows, _ = family.records.of_model(m)
        token, several = family.records.token[rows], list[bytes]()
        if family.records.spans is not None:
            token, several = _with_texts(family, m, rows, token)
        gained, lost = token_totals(token, delta[rows])
        n_documents = _documents([each.token for each in (*gained, *lost)], token, documents[rows])
        by_way = {"gained": gained, "lost": lost}
        found.append({way: _listed(family, each, several, n_documents) for way, each in by_way.items()})
    return found


def _documents(listed: list[int], token: NDArray[np.int32], document: NDArray[np.int32]) -> dict[int, int]:
    """In how many documents each of some tokens occurs."""
    if not listed:
        return {}
    place = np.full(int(token.max()) + 1, -1, np.int32)
    place[listed] = np.arange(len(listed))
    at = place[token]
    here = at >= 0
    seen = np.zeros((len(listed), int(document.max()) + 1), np.bool_)
    seen[at[here], document[here]] = True
    return dict(zip(listed, seen.sum(axis=1).tolist(), strict=True))


def _with_texts(
    family: FamilyRecords, m: int, rows: NDArray[np.int64], token: NDArray[np.int32]
) -> tuple[NDArray[np.int32], list[bytes]]:
    """A number for each row: its token, or for a span of several a number beyond all tokens, which counts the texts."""
    records, token = family.records, token.copy()
    beyond = family.vocabulary.beyond
    numbers: dict[bytes, int] = {}
    for k in range(len(family.documents)):
        text = family.text(k)
        low, high = np.searchsorted(rows, [records.offsets[k], records.offsets[k + 1]])
        for i in range(low, high):
            begin, end = int(records.pos[rows[i]]), records.end(m, int(rows[i]))
            if text is not None and end - begin > 1:
                piece = b"".join(family.vocabulary[text[begin:end]])
                token[i] = beyond + numbers.setdefault(piece, len(numbers))
    return token, list(numbers)


def _listed(
    family: FamilyRecords, found: list[TokenTotal], several: list[bytes], n_documents: dict[int, int]
) -> list[dict[str, Json]]:
    listed: list[dict[str, Json]] = []
    beyond = family.vocabulary.beyond
    for total in found:
        one = total.token < beyond
        piece = family.vocabulary[np.array([total.token], np.int32)][0] if one else several[total.token - beyond]
        listed.append(
            {
                "token": total.token if one else None,
                "text": piece.decode("utf-8", "backslashreplace"),
                "n": total.n,
                "documents": n_documents[total.token],
                "sum": round(total.sum, 6),
                "gain": round(total.gain, 6),
                "loss": round(total.loss, 6),
            }
        )
    return listed
