"""A small table in memory that all workers of a gateway share: bounded, lossy, without a lock.

A key has one place. Another key that needs the place takes it, so the table forgets; what it
remembers can be relied on to have been put there, unless two workers wrote one place in the same
microsecond, which the check word shows.
"""

from __future__ import annotations

import hashlib
import mmap
import struct

Spot = tuple[bytes, int]
"""A key's digest, and where its place begins."""

_SLOT = struct.Struct("<16sddQ")  # key, two numbers, check word
_WORD = 0xFFFFFFFFFFFFFFFF


class Table:
    """Keys to two numbers each. Made before the workers are forked.

    Args:
        slots: how many places.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._memory = mmap.mmap(-1, slots * _SLOT.size)

    def get(self, key: bytes) -> tuple[float, float] | None:
        """What was put there under a key, unless it has been forgotten."""
        return self.read(self.spot(key))

    def put(self, key: bytes, first: float, second: float) -> None:
        """Remember two numbers under a key."""
        self.write(self.spot(key), first, second)

    def spot(self, key: bytes) -> Spot:
        """A key as ``read`` and ``write`` take it, for whoever uses it often."""
        digest = hashlib.blake2b(key, digest_size=16).digest()
        return digest, int.from_bytes(digest[:8], "little") % self._slots * _SLOT.size

    def read(self, spot: Spot) -> tuple[float, float] | None:
        """What was put there, unless it has been forgotten."""
        digest, place = spot
        found, first, second, word = _SLOT.unpack_from(self._memory, place)
        if found != digest or word != hash((digest, first, second)) & _WORD:
            return None
        return first, second

    def write(self, spot: Spot, first: float, second: float) -> None:
        """Remember two numbers."""
        digest, place = spot
        word = hash((digest, first, second)) & _WORD
        _SLOT.pack_into(self._memory, place, digest, first, second, word)
