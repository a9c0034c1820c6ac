"""Django sessions as credentials. Sockets read sessions; they never delete, rotate or save one."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import import_module
from time import monotonic
from typing import Any

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.db import DatabaseError
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from rooms.digests import digest
from rooms.logs import RareWarning, describe
from signalling.protocol import ErrorCode, errors

from .canary import canary
from .identity import CHUNK, Identity, TokenRefused, auth_hash

_unavailable = RareWarning(
    logging.getLogger("signalling"), "Sessions unavailable, cannot check them: %s"
)

LOOK_UPS = 100
"""Sessions that are looked up at a time if the engine can only look up one by one."""
EXPIRY_SLACK = timedelta(minutes=1)
"""A cache does not report when a session expires. Estimates are up to this much too late."""


@dataclass(eq=False)
class SessionCredential:
    """The key of a session of a user. ``follow`` replaces a key that Django has rotated."""

    key: str = field(repr=False)
    user_id: Any
    expires_at: datetime
    """When the session expires, unless a request extends it. Its expiry revokes nothing."""
    is_signed_out: bool = False
    """Whether ``user_logged_out`` was sent. A signed cookie shows no other sign of that."""
    auth_hash: str = field(default="", repr=False)
    """The password hash of the user when the session was last read; empty if unknown."""
    seen_at: float = field(default_factory=monotonic)
    """When the session was last found (``time.monotonic``)."""

    @property
    def digest(self) -> str:
        return digest(self.key)

    def read_user(self) -> AbstractBaseUser:
        session = _load(self.key)
        user = None if self.is_signed_out else find_user(session)
        if user is not None and user.pk == self.user_id:
            self.auth_hash, self.seen_at = auth_hash(user), monotonic()
            return _require_active(user)
        stored = get_user_model()._base_manager.filter(pk=self.user_id).first()
        if stored is not None:
            _require_active(stored)
        if SESSION_KEY in session or self.is_signed_out or self._has_other_password(stored):
            raise TokenRefused(ErrorCode.TOKEN_REVOKED)
        _require_cache()
        proves_nothing = self.has_expired or self.was_lost_with_others
        raise TokenRefused(ErrorCode.TOKEN_EXPIRED if proves_nothing else ErrorCode.TOKEN_REVOKED)

    def _has_other_password(self, user: AbstractBaseUser | None) -> bool:
        return user is None or self.auth_hash not in {"", auth_hash(user)}

    def follow(self, before: str, after: str) -> None:
        """Use the key ``after`` from now on if ``before`` is the digest of the current one."""
        if self.digest == before:
            self.key = after

    @property
    def has_expired(self) -> bool:
        return self.expires_at - EXPIRY_SLACK <= timezone.now()

    @property
    def was_lost_with_others(self) -> bool:
        """Whether the cache has lost everything since the session was last found."""
        return self.seen_at <= canary.lost_at


def identify(key: str) -> Identity | None:
    """Return the identity that the key of a session proves, or ``None``. Blocking.

    Raises ``TokenRefused`` if the user is not active; the error ``unavailable`` if the cache that
    stores the sessions is.
    """
    session = _load(key)
    user = find_user(session)
    if user is None:
        if SESSION_KEY not in session:
            _require_cache()
        return None
    if (cache := _cache()) is not None:
        canary.store(cache)
    credential = SessionCredential(
        key, user.pk, session.get_expiry_date(), auth_hash=auth_hash(user)
    )
    return Identity(user=_require_active(user), credential=credential)


def find_user(session: Any) -> AbstractBaseUser | None:
    """Return the user of a session, as ``django.contrib.auth.get_user`` does, but change nothing.

    Django rotates a session that was signed with one of ``SECRET_KEY_FALLBACKS``, and Channels
    deletes it; either would sign the user out of pages that still have the former cookie.
    """
    try:
        user_id = get_user_model()._meta.pk.to_python(session[SESSION_KEY])
        backend_path = session[BACKEND_SESSION_KEY]
    except KeyError:
        return None
    if backend_path not in settings.AUTHENTICATION_BACKENDS:
        return None
    user: Any = load_backend(backend_path).get_user(user_id)
    if user is None or not hasattr(user, "get_session_auth_hash"):
        found: AbstractBaseUser | None = user
        return found
    proved = session.get(HASH_SESSION_KEY, "")
    valid = user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()
    return user if any(constant_time_compare(proved, each) for each in valid) else None


def find_lost(credentials: list[SessionCredential]) -> list[SessionCredential]:
    """Return those whose session was deleted before its expiry. Blocking: one query per ``CHUNK``.

    Engines that store nothing lose nothing. What a cache loses with everything else does not count.
    Of those that can only look up single sessions, ``LOOK_UPS`` are looked up, at random.
    """
    try:
        return _find_lost(credentials)
    except DatabaseError:
        raise
    except Exception as error:  # each backend raises its own exceptions
        _unavailable.log(describe(error))
        return []


def _find_lost(credentials: list[SessionCredential]) -> list[SessionCredential]:
    store = _store()
    if issubclass(store, SignedCookies):
        return []
    if hasattr(store, "get_model_class"):
        return _find_lost_rows(store.get_model_class(), credentials)
    if (cache := _cache()) is not None:
        return _find_lost_entries(cache, store.cache_key_prefix, credentials)
    some = random.sample(credentials, min(LOOK_UPS, len(credentials)))
    return [one for one in some if not one.has_expired and not store().exists(one.key)]


def _find_lost_rows(model: Any, credentials: list[SessionCredential]) -> list[SessionCredential]:
    found: dict[str, datetime] = {}
    for start in range(0, len(credentials), CHUNK):
        keys = {credential.key for credential in credentials[start : start + CHUNK]}
        rows = model._base_manager.filter(session_key__in=keys)
        found |= dict(rows.values_list("session_key", "expire_date"))
    for credential in credentials:
        credential.expires_at = found.get(credential.key, credential.expires_at)
    return [one for one in credentials if one.key not in found and not one.has_expired]


def _find_lost_entries(
    cache: Any, prefix: str, credentials: list[SessionCredential]
) -> list[SessionCredential]:
    missing = []
    for start in range(0, len(credentials), CHUNK):
        chunk = credentials[start : start + CHUNK]
        found = cache.get_many([*(prefix + one.key for one in chunk), *canary.keys])
        canary.observe(cache, found)
        for one in chunk:
            if prefix + one.key in found:
                one.seen_at = monotonic()
            else:
                missing.append(one)
    return [one for one in missing if not one.has_expired and not one.was_lost_with_others]


def _load(key: str) -> Any:
    """Return a session. Raises the error ``unavailable`` if its engine fails."""
    session = _store()(key)
    try:
        session.get(SESSION_KEY)
    except DatabaseError:
        raise
    except Exception as error:  # ``cached_db`` writes to the cache what it has read
        _unavailable.log(describe(error))
        raise errors.unavailable() from error
    return session


def _require_cache() -> None:
    """Raise the error ``unavailable`` if the cache of the sessions is: they all seem to be empty."""
    cache = _cache()
    if cache is not None and not canary.look(cache):
        raise errors.unavailable()


def _require_active(user: AbstractBaseUser) -> AbstractBaseUser:
    if not user.is_active:
        raise TokenRefused(ErrorCode.USER_INACTIVE)
    return user


def _cache() -> Any:
    """Return the cache that alone stores the sessions; ``None`` for other engines."""
    store = _store()
    if hasattr(store, "get_model_class") or not hasattr(store, "cache_key_prefix"):
        return None
    return store()._cache


def _store() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore
