"""A static interval tree: build it once, then ask what overlaps a range.

Intervals are half open, so `[3, 7)` and `[7, 9)` do not touch. The tree is
stored implicitly in one sorted list. The middle of every slice is its root,
and `_reach` holds the largest end found anywhere in that slice, which lets a
query skip whole branches that finish too early.
"""

from dataclasses import dataclass
from typing import Any, Iterable, Iterator, List


@dataclass(frozen=True)
class Interval:
    start: float
    end: float
    data: Any = None

    def __post_init__(self):
        if not self.start < self.end:
            raise ValueError(f"empty interval: [{self.start}, {self.end})")

    def overlaps(self, start: float, end: float) -> bool:
        return self.start < end and start < self.end


class IntervalTree:
    def __init__(self, intervals: Iterable[Interval]):
        self._items: List[Interval] = sorted(intervals, key=lambda item: (item.start, item.end))
        self._reach: List[float] = [0.0] * len(self._items)
        if self._items:
            self._measure(0, len(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def _measure(self, low: int, high: int) -> float:
        middle = (low + high) // 2
        reach = self._items[middle].end
        if low < middle:
            reach = max(reach, self._measure(low, middle))
        if middle + 1 < high:
            reach = max(reach, self._measure(middle + 1, high))
        self._reach[middle] = reach
        return reach

    def overlapping(self, start: float, end: float) -> Iterator[Interval]:
        """Yield every interval that shares a point with [start, end)."""
        stack = [(0, len(self._items))]
        while stack:
            low, high = stack.pop()
            if low >= high:
                continue
            middle = (low + high) // 2
            if self._reach[middle] <= start:
                continue  # nothing in this slice lasts long enough
            item = self._items[middle]
            if item.start < end:
                stack.append((middle + 1, high))
                if item.overlaps(start, end):
                    yield item
            stack.append((low, middle))

    def at(self, point: float) -> List[Interval]:
        """The intervals that contain one point, ordered by their start."""
        found = []
        stack = [(0, len(self._items))]
        while stack:
            low, high = stack.pop()
            if low >= high:
                continue
            middle = (low + high) // 2
            if self._reach[middle] <= point:
                continue
            item = self._items[middle]
            if item.start <= point:
                stack.append((middle + 1, high))
                if point < item.end:
                    found.append(item)
            stack.append((low, middle))
        found.sort(key=lambda item: item.start)
        return found


def merge(intervals: Iterable[Interval]) -> List[Interval]:
    """Join overlapping and adjacent intervals; the data is dropped."""
    merged: List[Interval] = []
    for item in sorted(intervals, key=lambda entry: entry.start):
        if merged and item.start <= merged[-1].end:
            last = merged.pop()
            merged.append(Interval(last.start, max(last.end, item.end)))
        else:
            merged.append(Interval(item.start, item.end))
    return merged


def gaps(intervals: Iterable[Interval], start: float, end: float) -> List[Interval]:
    """The parts of [start, end) that none of the intervals covers."""
    free = []
    cursor = start
    for item in merge(intervals):
        if item.start >= end:
            break
        if item.start > cursor:
            free.append(Interval(cursor, item.start))
        cursor = max(cursor, item.end)
    if cursor < end:
        free.append(Interval(cursor, end))
    return free
