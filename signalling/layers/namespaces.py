"""The names that one site uses in Redis, and the signatures of what it stores under them.

Redis pub/sub ignores database numbers, so sites that share a Redis are kept apart by their names.
By default both the names and the signatures come from ``SECRET_KEY``, which all processes of a site
have in common and no other site has.

A payload is::

    version (1 byte) · number of signatures (1 byte) · signatures (16 bytes each) · body

Each signature covers the version, the name in Redis and the body, so a payload is valid in one place
only. Nothing is parsed before its signature has been checked.

**Compatibility.** Processes of two releases share Redis during a rolling upgrade. Fields and kinds
of messages may be added to the body: a process ignores those that it does not know. Anything else
needs a new version. A release that adds one must read both, and write the old one: only the release
after it may write the new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hmac import compare_digest
from typing import Any

from django.conf import settings

from .connections import database_number
from .signatures import SIGNATURE_BYTES, Key, Signer, derived

VERSION = 1
HEAD_BYTES = 2


class Refused(Exception):
    """A payload that is not used. ``reason`` labels the metric."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Namespace:
    """The names that begin with ``prefix``, and the keys that sign what is stored under them.

    Payloads are signed with every key, and accepted if one of the signatures is valid for one of
    the keys. So a key can be replaced while processes run. Without keys nothing is signed, and any
    payload is accepted.
    """

    def __init__(self, prefix: str, keys: Iterable[Key]) -> None:
        self.prefix = prefix
        self._signers = [Signer(key, VERSION) for key in keys]
        self._head = bytes((VERSION, len(self._signers)))

    def channel(self, target: str) -> str:
        """Return the Redis channel of a process id, or of ``ALL``."""
        return f"{self.prefix}:bus:{target}"

    def queue(self, channel: str) -> str:
        """Return the key of a named queue."""
        return f"{self.prefix}:queue:{channel}"

    def seal(self, name: str, body: bytes) -> bytes:
        """Return the payload with this body that is valid under one name in Redis."""
        return b"".join([self._head, *[key.sign(name, body) for key in self._signers], body])

    def open(self, name: str, payload: bytes) -> bytes:
        """Return the body of a payload that was found under a name. Raises ``Refused``."""
        if len(payload) < HEAD_BYTES:
            raise Refused("malformed", "too short")
        if payload[0] != VERSION:
            raise Refused("version", f"unknown version {payload[0]}")
        end = HEAD_BYTES + payload[1] * SIGNATURE_BYTES
        body = payload[end:]
        if not self._signers:
            return body
        for key in self._signers:
            valid = key.sign(name, body)
            for start in range(HEAD_BYTES, end, SIGNATURE_BYTES):
                if compare_digest(valid, payload[start : start + SIGNATURE_BYTES]):
                    return body
        raise Refused("signature", "no valid signature")


def site_namespaces(
    hosts: Sequence[dict[str, Any]],
    prefix: str | None = None,
    signing_keys: Sequence[Key] | None = None,
) -> list[Namespace]:
    """Return the namespaces of a site, the one that names its channels first.

    There is one, with an explicit ``prefix``. Otherwise there is one for each of ``SECRET_KEY`` and
    ``SECRET_KEY_FALLBACKS``: while the key is being replaced, processes with and without the new one
    have a namespace in common.
    """
    if prefix is not None:
        if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,60}", prefix):
            raise ValueError("The prefix must be 1 to 60 letters, digits, hyphens, dots and _.")
        return [Namespace(prefix, _site_keys() if signing_keys is None else signing_keys)]
    return [
        Namespace(default_prefix(key, hosts), [key] if signing_keys is None else signing_keys)
        for key in _site_keys()
    ]


def default_prefix(key: Key, hosts: Sequence[dict[str, Any]] = ()) -> str:
    """Return a prefix that differs by key and by the database numbers of the hosts."""
    databases = ",".join(str(database_number(host)) for host in hosts)
    return f"signalling-{derived(key, f'prefix:{databases}').hex()[:12]}"


def _site_keys() -> list[Key]:
    return list(dict.fromkeys([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]))
