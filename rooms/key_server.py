"""The keys of ``SIMPLE_JWT["JWK_URL"]``, fetched in a thread of their own.

PyJWT's ``PyJWKClient`` fetches in the thread that checks a token, waits up to 30 s for the server,
and holds a lock for that time, so a server that hangs delays all tokens. Anyone can cause a fetch
with a token that names an unknown key. Here only tokens with unknown keys wait for a fetch, for
at most ``SECONDS``; there is one fetch at a time, and a pause after each.
"""

from __future__ import annotations

import copy
import logging
import threading
from concurrent.futures import Future
from functools import cache
from time import monotonic
from typing import Any

import jwt

from .deadlines import Workers
from .logs import RareWarning

SECONDS = 2.0
"""How long a token may wait, and how long the server may send nothing."""
PAUSE_SECONDS = 10.0
"""Between the end of a fetch and the next one for an unknown or outdated key."""
FRESH_SECONDS = 300.0
"""After this time the keys are fetched again. Tokens with known keys do not wait for it."""
STALE_SECONDS = 3600.0
"""For how long the keys count if the server does not respond."""

_failed = RareWarning(logging.getLogger("signalling"), "Key server unavailable (%s): %r")


class KeysUnavailable(Exception):
    """The key of a token is unknown, and the server that may know it does not respond."""


class KeyServer:
    """Takes the place of a ``PyJWKClient`` in a ``TokenBackend``; never waits.

    Call ``fetch`` before, and wait for what it returns.
    """

    def __init__(self, client: jwt.PyJWKClient) -> None:
        self._client = copy.copy(client)  # a subclass may fetch in another way
        self._client.timeout = min(client.timeout, SECONDS)
        self._thread = Workers(1, "signalling-keys")
        self._lock = threading.Lock()
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = self._failed_at = self._begun_at = float("-inf")
        self._running: Future[None] | None = None

    def fetch(self, token: str | bytes) -> Future[None] | None:
        """Fetch the keys if the token needs it. Return what to wait for, if anything.

        The future has no result and no exception; ``get_signing_key_from_jwt`` tells the outcome.
        """
        try:
            kid = _kid(token)
        except jwt.InvalidTokenError:
            return None
        with self._lock:
            now = monotonic()
            is_known = self._is_known(kid, now)
            if self._running is None and self._is_due(is_known, now):
                self._begun_at, self._running = now, Future()
                self._thread.submit(self._fetch, self._running)
            if is_known or now - self._begun_at > SECONDS:
                return None
            return self._running

    def get_signing_key_from_jwt(self, token: str | bytes) -> jwt.PyJWK:
        """Return the key of a token.

        Raise ``PyJWKClientError`` if the server does not have it, ``KeysUnavailable`` if that is
        unknown, and ``InvalidTokenError`` if the token is malformed.
        """
        kid = _kid(token)
        with self._lock:
            if self._is_known(kid, monotonic()):
                return self._keys[kid]
            if self._running is None and self._fetched_at > self._failed_at:
                raise jwt.PyJWKClientError("Unknown key")
        raise KeysUnavailable

    def _is_known(self, kid: str | None, now: float) -> bool:
        return kid in self._keys and now - self._fetched_at <= STALE_SECONDS

    def _is_due(self, is_known: bool, now: float) -> bool:
        age = now - max(self._fetched_at, self._failed_at)
        return age > PAUSE_SECONDS and not (is_known and now - self._fetched_at <= FRESH_SECONDS)

    def _fetch(self, done: Future[None]) -> None:
        try:
            keys = {key.key_id: key for key in self._client.get_signing_keys(refresh=True)}
        except Exception as error:  # also of what the server has sent
            _failed.log(self._client.uri, error)
            keys = None
        with self._lock:
            self._running = None
            if keys is None:
                self._failed_at = monotonic()
            else:
                self._keys, self._fetched_at = keys, monotonic()
        done.set_result(None)


@cache
def key_server(client: jwt.PyJWKClient) -> KeyServer:
    """Return the one ``KeyServer`` for a client."""
    return KeyServer(client)


def _kid(token: str | bytes) -> str | None:
    try:
        kid: Any = jwt.get_unverified_header(token).get("kid")
    except RecursionError:  # of PyJWT before 2.14
        raise jwt.DecodeError("The header is nested too deeply") from None
    return kid if isinstance(kid, str) else None
