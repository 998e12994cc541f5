"""A bounded cache that forgets the least recently used entry first.

Entries also carry an optional age limit. Stale entries are dropped lazily,
when they are looked up, so there is no background thread to manage.
"""

import functools
import time
from collections import OrderedDict

_MISSING = object()


class ExpiringCache:
    def __init__(self, max_size=128, max_age=None, clock=time.monotonic):
        if max_size < 1:
            raise ValueError("max_size must be at least 1")
        self.max_size = max_size
        self.max_age = max_age
        self.hits = 0
        self.misses = 0
        self._clock = clock
        self._entries = OrderedDict()  # key -> (value, time stored)

    def __len__(self):
        return len(self._entries)

    def get(self, key, default=None):
        entry = self._entries.get(key)
        if entry is not None and self._is_stale(entry):
            del self._entries[key]
            entry = None
        if entry is None:
            self.misses += 1
            return default
        self.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key, value):
        self._entries[key] = (value, self._clock())
        self._entries.move_to_end(key)
        while len(self._entries) > self.max_size:
            self._entries.popitem(last=False)

    def clear(self):
        self._entries.clear()
        self.hits = self.misses = 0

    def _is_stale(self, entry):
        if self.max_age is None:
            return False
        return self._clock() - entry[1] > self.max_age


def cached(max_size=128, max_age=None):
    """Decorator that remembers results by their (hashable) arguments."""

    def decorate(function):
        cache = ExpiringCache(max_size, max_age)

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            key = (args, tuple(sorted(kwargs.items())))
            value = cache.get(key, _MISSING)
            if value is _MISSING:
                value = function(*args, **kwargs)
                cache.put(key, value)
            return value

        wrapper.cache = cache
        return wrapper

    return decorate
