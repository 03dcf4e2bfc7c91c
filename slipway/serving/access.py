"""Who may ask, and who is given which arm whatever the route says.

python -m slipway.serving.access hash                     a password, read from stdin, as stored
python -m slipway.serving.access key                      a fresh API key, and how it is stored
python -m slipway.serving.access sign KEY_FILE MODEL ARM HOURS    an override header
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import sys
import time
from pathlib import Path

from slipway.policy import Access

OVERRIDE = b"x-slipway-override"
API_KEY = b"x-api-key"
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1
_REMEMBERED = 1000
_CHECK_SECONDS = 0.25


class Door:
    """One model's access rules, compiled.

    Args:
        access: what is declared.
        key: the gateways' secret, which signs overrides.
    """

    def __init__(self, model: str, access: Access, key: bytes) -> None:
        self._model, self._access, self._key = model, access, key
        self._keys = [bytes.fromhex(k) for k in access.keys]
        self._let_in: set[bytes] = set()  # digests of credentials that scrypt has checked already
        self._next_check = 0.0
        self.open = not access.keys and not access.beta

    def admits(self, headers: dict[bytes, bytes], now: float) -> bool:
        """Whether a request may be answered at all."""
        if self.open:
            return True
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        presented = token if scheme.lower() == b"bearer" else headers.get(API_KEY, b"")
        if presented and self._is_key(presented.strip()):
            return True
        return scheme.lower() == b"basic" and self._is_user(token.strip(), now)

    def _is_key(self, presented: bytes) -> bool:
        digest = hashlib.sha256(presented).digest()
        # Every key is compared, so that time does not tell which one was nearly right.
        matches = [hmac.compare_digest(digest, key) for key in self._keys]
        return any(matches)

    def _is_user(self, token: bytes, now: float) -> bool:
        seen = hashlib.blake2b(token, key=self._key).digest()
        if seen in self._let_in:
            return True
        if now < self._next_check:  # scrypt is slow on purpose: guessing must not hold up others
            return False
        self._next_check = now + _CHECK_SECONDS
        try:
            user, _, password = base64.b64decode(token, validate=True).partition(b":")
        except binascii.Error:
            return False
        stored = self._access.beta.get(user.decode("utf-8", "replace"), "")
        if not is_password(password, stored):
            return False
        if len(self._let_in) >= _REMEMBERED:
            self._let_in.clear()
        self._let_in.add(seen)
        return True

    def override(self, headers: dict[bytes, bytes], unit: str | None, now: float) -> str:
        """The arm that a request is given whatever the route says, or empty."""
        signed = headers.get(OVERRIDE)
        if signed is not None and self._access.signed:
            return verify(self._key, self._model, signed.decode("latin-1"), now)
        return self._access.allow.get(unit, "") if unit is not None else ""


_LATEST = 12
"""Digits of a moment in seconds: more are no moment, and cost time to read."""


def sign(key: bytes, model: str, arm: str, expires: int) -> str:
    """An ``x-slipway-override`` header: ``arm;expires;signature``.

    Args:
        key: the gateways' secret.
        expires: seconds since 1970 UTC.
    """
    text = f"override {model} {arm} {expires}".encode()
    return f"{arm};{expires};{hashlib.blake2b(text, key=key, digest_size=16).hexdigest()}"


def verify(key: bytes, model: str, header: str, now: float) -> str:
    """The arm that a signed header names; empty where it is forged, spoilt or too old."""
    arm, _, rest = header.partition(";")
    expires = rest.partition(";")[0]
    if not (expires.isdecimal() and len(expires) <= _LATEST) or int(expires) < now:
        return ""
    good = hmac.compare_digest(header.encode(), sign(key, model, arm, int(expires)).encode())
    return arm if good else ""


def hash_password(password: bytes, salt: bytes) -> str:
    """A password as it is stored: ``scrypt$salt$digest`` (RFC 7914)."""
    digest = hashlib.scrypt(password, salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
    return f"scrypt${salt.hex()}${digest.hex()}"


def is_password(password: bytes, stored: str) -> bool:
    """Whether a password is the stored one; an unknown user takes as long as a wrong password."""
    scheme, _, rest = (stored or f"scrypt${'00' * 16}$").partition("$")
    salt = rest.partition("$")[0]
    if scheme != "scrypt":
        return False
    return hmac.compare_digest(hash_password(password, bytes.fromhex(salt)), stored)


def main(arguments: list[str]) -> int:
    """Make what is stored, or a header for a tester."""
    if arguments == ["hash"]:
        print(hash_password(sys.stdin.readline().rstrip("\n").encode(), os.urandom(16)))  # noqa: T201
    elif arguments == ["key"]:
        fresh = os.urandom(24).hex()
        print(f"key: {fresh}\nstored: {hashlib.sha256(fresh.encode()).hexdigest()}")  # noqa: T201
    elif len(arguments) == 5 and arguments[0] == "sign":
        _, key_file, model, arm, hours = arguments
        key = bytes.fromhex(Path(key_file).read_text().strip())
        print(sign(key, model, arm, int(time.time() + 3600 * float(hours))))  # noqa: T201
    else:
        sys.stderr.write(__doc__ or "")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
