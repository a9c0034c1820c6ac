"""Signatures of what is stored in Redis: HMAC-SHA-256 (RFC 2104), truncated to 128 bits."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from django.utils.crypto import salted_hmac

SALT = "signalling.layers"
SIGNATURE_BYTES = 16
MAX_NAMES = 1000

Key = str | bytes


def derived(key: Key, purpose: str) -> bytes:
    """Return a key of 32 bytes for one purpose, which does not reveal ``key``."""
    return salted_hmac(SALT, purpose, key, algorithm="sha256").digest()


class Signer:
    """Signs the payloads of one version with a key that is derived from ``key``.

    The hash states after the key, and after each name, are kept and copied (RFC 2104, section 4).
    This takes a third of the time of ``hmac.digest``.
    """

    def __init__(self, key: Key, version: int) -> None:
        padded = derived(key, f"signature:{version}").ljust(sha256().block_size, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in padded))
        self._named: dict[str, Any] = {}

    def sign(self, name: str, body: bytes) -> bytes:
        """Return the signature of a name in Redis, a zero byte, and the body."""
        inner = (self._named.get(name) or self._state_of(name)).copy()
        inner.update(body)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:SIGNATURE_BYTES]

    def _state_of(self, name: str) -> Any:
        if len(self._named) >= MAX_NAMES:
            self._named.clear()
        state = self._named[name] = self._inner.copy()
        state.update(name.encode() + b"\0")
        return state
