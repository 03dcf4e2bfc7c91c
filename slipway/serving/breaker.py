"""A circuit breaker per arm: one that fails is left alone for a while, then probed.

closed --failures--> open --open_seconds--> half-open --probes--> closed
                       ^------- a failure ------'
"""

from __future__ import annotations

from slipway.policy import Breaker as Settings

CLOSED, HALF_OPEN, OPEN = 0, 1, 2


class Breaker:
    """One arm's breaker. Time is given by the caller.

    Attributes:
        closed: whether calls go through without asking `allows`: all that a healthy arm costs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.closed = True
        self._streak = 0  # failures in a row; while half-open, good probes in a row
        self._failures = self._requests = 0
        self._window_began = 0.0
        self._open_until = 0.0
        self._probing = False

    def state(self, now: float) -> int:
        """0 closed, 1 half-open, 2 open."""
        if self.closed:
            return CLOSED
        return OPEN if now < self._open_until else HALF_OPEN

    def allows(self, now: float) -> bool:
        """Whether a call may be made; a half-open breaker lets one at a time through."""
        if self.closed:
            return True
        if now < self._open_until or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """A call gave a good answer."""
        self._requests += 1
        if self.closed:
            self._streak = 0
            return
        self._probing = False
        self._streak += 1
        if self._streak >= self.settings.probes:
            self.closed = True
            self._streak = self._failures = self._requests = 0

    def failed(self, now: float) -> None:
        """A call failed."""
        if not self.closed:
            self._open(now)
            return
        if now - self._window_began > self.settings.window_seconds:
            self._window_began = now
            self._failures = self._requests = 0
        self._requests += 1
        self._failures += 1
        self._streak += 1
        settings = self.settings
        often = self._failures / self._requests >= settings.error_share
        if self._streak >= settings.failures or (often and self._requests >= settings.min_requests):
            self._open(now)

    def released(self) -> None:
        """A probe was called off before it told anything."""
        self._probing = False

    def _open(self, now: float) -> None:
        self.closed = self._probing = False
        self._streak = 0
        self._open_until = now + self.settings.open_seconds
