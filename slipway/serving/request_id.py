"""Request ids that vouch for themselves.

An id is 44 hex digits: milliseconds since 1970 (6 bytes, so ids sort by time), the maker's random
nonce (4) and counter (4), and a BLAKE2b tag (8) keyed with the gateways' secret over the model's
name and all of that. Whether feedback names a request that some gateway answered is then told
without a look-up, on any gateway that holds the same key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

LENGTH = 44
_TAG_BYTES = 8
_BODY_BYTES = 14


class Minter:
    """Makes and checks request ids.

    Args:
        key: the secret that all gateways of one deployment share; 16 to 64 bytes.
        nonce: four bytes that no other live maker uses.
    """

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._key = key
        self._nonce = int.from_bytes(nonce, "big") << 32
        self._count = 0
        self._keyed: dict[bytes, hashlib.blake2b] = {}

    def mint(self, model: bytes, now: float) -> str:
        """A fresh id.

        Args:
            model: the model's name.
            now: seconds since 1970 UTC.
        """
        self._count = count = (self._count + 1) & 0xFFFFFFFF
        made = int(now * 1000) << 64 | self._nonce | count
        body = made.to_bytes(_BODY_BYTES, "big")
        return (body + self._tag(body, model)).hex()

    def knows(self, request_id: str, model: bytes) -> bool:
        """Whether an id was made with this key for this model."""
        if len(request_id) != LENGTH:
            return False
        try:
            raw = bytes.fromhex(request_id)
        except ValueError:
            return False
        if len(raw) != LENGTH // 2:
            return False
        return hmac.compare_digest(raw[-_TAG_BYTES:], self._tag(raw[:-_TAG_BYTES], model))

    def _tag(self, body: bytes, model: bytes) -> bytes:
        keyed = self._keyed.get(model)
        if keyed is None:
            keyed = hashlib.blake2b(model + b" ", digest_size=_TAG_BYTES, key=self._key)
            self._keyed[model] = keyed
        tag = keyed.copy()  # a third of the price of keying it anew
        tag.update(body)
        return tag.digest()


def load_key(path: Path) -> bytes:
    """The key in a file, made there (readable by its owner only) if there is none.

    Two gateways may start at once: the first to link its file wins, the other reads it.
    """
    if not path.exists():
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(os.urandom(32).hex())
        try:
            os.link(part, path)
        except FileExistsError:
            pass
        finally:
            part.unlink()
    return bytes.fromhex(path.read_text().strip())
