#!/usr/bin/env python3
"""Print a short description of every column in a CSV file.

Numeric columns get a count, a range, a mean and a standard deviation. All
other columns get the number of distinct values and the most common ones.
"""

import argparse
import csv
import math
import sys
from collections import Counter


class ColumnStats:
    """Running statistics for one column."""

    def __init__(self, name):
        self.name = name
        self.empty = 0
        self.count = 0
        self.numeric = True
        self.low = math.inf
        self.high = -math.inf
        self.values = Counter()
        self._mean = 0.0
        self._squares = 0.0

    def add(self, cell):
        cell = cell.strip()
        if not cell:
            self.empty += 1
            return
        self.count += 1
        self.values[cell] += 1
        if not self.numeric:
            return
        try:
            number = float(cell)
        except ValueError:
            # One word is enough to call the column textual.
            self.numeric = False
            return
        self.low = min(self.low, number)
        self.high = max(self.high, number)
        # Welford's update keeps the variance stable for large offsets.
        delta = number - self._mean
        self._mean += delta / self.count
        self._squares += delta * (number - self._mean)

    @property
    def deviation(self):
        if self.count < 2:
            return 0.0
        return math.sqrt(self._squares / (self.count - 1))

    def describe(self):
        if self.count == 0:
            return "no values"
        if self.numeric:
            return (
                f"{self.count} numbers, {self.low:g} to {self.high:g}, "
                f"mean {self._mean:.4g}, deviation {self.deviation:.4g}"
            )
        common = ", ".join(f"{value!r} ({times})" for value, times in self.values.most_common(3))
        return f"{self.count} values, {len(self.values)} distinct, mostly {common}"


def summarise(lines, delimiter=","):
    """Return a list of ColumnStats for an iterable of CSV lines."""
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        header = next(reader)
    except StopIteration:
        return []
    columns = [ColumnStats(name.strip() or f"column {i}") for i, name in enumerate(header, start=1)]
    for row in reader:
        if len(row) > len(columns):
            raise ValueError(f"line {reader.line_num}: too many cells")
        # Short rows are common in hand-made files: the rest counts as empty.
        row += [""] * (len(columns) - len(row))
        for column, cell in zip(columns, row):
            column.add(cell)
    return columns


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="CSV file, or - for standard input")
    parser.add_argument("-d", "--delimiter", default=",")
    args = parser.parse_args(argv)

    if args.path == "-":
        columns = summarise(sys.stdin, args.delimiter)
    else:
        with open(args.path, newline="", encoding="utf-8-sig") as handle:
            columns = summarise(handle, args.delimiter)

    width = max((len(column.name) for column in columns), default=0)
    for column in columns:
        note = f", {column.empty} empty" if column.empty else ""
        print(f"{column.name:<{width}}  {column.describe()}{note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
