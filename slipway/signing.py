"""Signatures of releases: ed25519 (RFC 8032), keys as PEM files (PKCS #8 and SubjectPublicKeyInfo).

``SLIPWAY_SIGNING_KEY`` names the private key that signs, ``SLIPWAY_VERIFY_KEY`` the public one that
is believed (by default the private one's name with ``.pub``). Nobody is believed because a public
key lies beside the signature.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.errors import Refused, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNING_KEY, VERIFY_KEY = "SLIPWAY_SIGNING_KEY", "SLIPWAY_VERIFY_KEY"


def new_key(path: Path) -> Path:
    """Make a pair of keys: the private one at ``path`` (mode 600), the public one beside it.

    Returns:
        The public key's path.

    Raises:
        UsageError: a file is there already; a key is never written over.
        Refused: the files cannot be written.
    """
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, public = Ed25519PrivateKey.generate(), _public_of(path)
    for taken in (p for p in (path, public) if p.exists()):
        raise UsageError("a key is there already", where=str(taken), do="name another file")
    form = (pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    info = (pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    try:
        # The public one first: it is of no use to anybody if the other cannot follow.
        _write(public, private.public_key().public_bytes(*info), 0o644)
        try:
            _write(path, private.private_bytes(*form), 0o600)
        except OSError:
            public.unlink()
            raise
    except OSError as error:
        raise Refused(
            f"the key cannot be written: {error.strerror}", where=str(path), do="name another place"
        ) from error
    return public


def signing_key(environ: Mapping[str, str] = os.environ) -> Ed25519PrivateKey | None:
    """The key that signs, if one is named.

    Raises:
        Refused: it is named and cannot be read, or is no private ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if not (named := environ.get(SIGNING_KEY)):
        return None
    key = _read(Path(named), lambda data: load_pem_private_key(data, None), SIGNING_KEY)
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(Path(named), SIGNING_KEY, "it is a key of another kind")
    return key


def verify_key(environ: Mapping[str, str] = os.environ) -> Ed25519PublicKey | None:
    """The key that is believed, if one is named.

    Raises:
        Refused: it is named and cannot be read, or is no public ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    path, variable = environ.get(VERIFY_KEY), VERIFY_KEY
    if not path and (private := environ.get(SIGNING_KEY)):
        path, variable = str(_public_of(Path(private))), SIGNING_KEY
    if not path:
        return None
    key = _read(Path(path), load_pem_public_key, variable)
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(Path(path), variable, "it is a key of another kind")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """The first sixteen hex digits of the SHA-256 of a public key's 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def holds(key: Ed25519PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether a signature of a message is that key's."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a new file whole, or not at all."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            path.unlink()
            raise


def _public_of(private: Path) -> Path:
    return private.with_name(f"{private.name}.pub")


def _read(path: Path, load: object, variable: str) -> object:
    try:
        return load(path.read_bytes())  # type: ignore[operator]
    except OSError as error:
        raise _no_key(path, variable, str(error.strerror)) from error
    except (ValueError, TypeError) as error:
        raise _no_key(path, variable, "it is no PEM key without a password") from error


def _no_key(path: Path, variable: str, why: str) -> Refused:
    return Refused(
        f"the key that {variable} names cannot be used: {why}",
        where=str(path),
        do="make one with 'slipway key FILE', or name another",
    )
