"""A small token bucket for limiting how often something may happen."""

import threading
import time


class TokenBucket:
    """Allow bursts of up to `capacity` actions, refilled at `rate` per second.

    The clock can be replaced, which keeps the tests free of sleeping.
    """

    def __init__(self, rate, capacity, clock=time.monotonic):
        if rate <= 0 or capacity <= 0:
            raise ValueError("rate and capacity must be positive")
        self.rate = float(rate)
        self.capacity = float(capacity)
        self._clock = clock
        self._level = self.capacity
        self._updated = clock()
        self._lock = threading.Lock()

    def _refill(self):
        now = self._clock()
        elapsed = max(0.0, now - self._updated)
        self._level = min(self.capacity, self._level + elapsed * self.rate)
        self._updated = now

    def try_take(self, amount=1.0):
        """Take `amount` tokens if they are there; say whether it worked."""
        with self._lock:
            self._refill()
            if amount > self._level:
                return False
            self._level -= amount
            return True

    def wait_time(self, amount=1.0):
        """Seconds until `amount` tokens could be taken, 0.0 if right away."""
        if amount > self.capacity:
            raise ValueError("more tokens than the bucket can ever hold")
        with self._lock:
            self._refill()
            return max(0.0, amount - self._level) / self.rate
