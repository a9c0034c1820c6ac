"""Whether an identity still holds: the one place that decides it.

Three callers ask. A request that needs a right asks within the database call of its act
(``perform``). A push asks, because something about the user has changed (``check_all``). A sweep
looks for users, sessions and tokens that have changed without a push (``find_changed``,
``find_lost``), and their identities are checked in the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import BooleanField

from rooms import admission, outages
from signalling.database import surrounded
from signalling.protocol import ErrorCode, ProtocolError, errors

from . import sessions, tokens
from .identity import CHUNK, Identity, TokenRefused
from .sessions import SessionCredential

logger = logging.getLogger("signalling")

T = TypeVar("T")

_HASHES = ("get_session_auth_hash", "_get_session_auth_hash")


def read_user(identity: Identity) -> AbstractBaseUser:
    """Return the user of an identity as the database has it now. Blocking.

    Raises ``TokenRefused`` if the credential was revoked, the user deactivated or deleted. An
    expired session keeps the current call, but proves nothing else.
    """
    if identity.credential is None:
        return identity.user
    try:
        return identity.credential.read_user()
    except TokenRefused as refusal:
        if refusal.code == ErrorCode.TOKEN_EXPIRED:
            refusal.close = None
        raise


def perform(identity: Identity, act: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call ``act`` with the current ``user`` of an identity. Raises as ``read_user`` does.

    For ``database_sync``: the user is read and the act is done in one call.
    """
    return act(*args, user=read_user(identity), **kwargs)


def check_all(held: list[tuple[Identity, str | None]]) -> list[ProtocolError | None]:
    """Check identities, each with the code of the room that it is in. Blocking.

    Return for each the error to close its socket with, or ``None``: 4401 if the credential is gone,
    4403 if ``CAN_STAY`` no longer allows the user to be in the room.
    """
    return [
        surrounded(_check, identity.surroundings)(identity, room_code)
        for identity, room_code in held
    ]


def find_changed(known: dict[Any, int]) -> dict[Any, int | None]:
    """Return the fingerprints of the users in ``known`` that have another one now. Blocking.

    One query for each ``CHUNK`` of users. A deleted user has the fingerprint ``None``.
    """
    names = _columns()
    found: dict[Any, int | None] = {}
    user_ids = list(known)
    for start in range(0, len(user_ids), CHUNK):
        rows = get_user_model()._base_manager.filter(pk__in=user_ids[start : start + CHUNK])
        found |= {pk: _hash(values) for pk, *values in rows.values_list("pk", *names)}
    return {pk: found.get(pk) for pk, before in known.items() if found.get(pk) != before}


def find_lost(identities: list[Identity]) -> set[Any]:
    """Return the primary keys of users with a session or a token that is gone. Blocking."""
    held = [identity.credential for identity in identities]
    lost = sessions.find_lost([one for one in held if isinstance(one, SessionCredential)])
    blacklisted = tokens.find_blacklisted(held)
    gone = {id(one) for one in (*lost, *blacklisted)}
    return {each.user.pk for each in identities if id(each.credential) in gone}


def fingerprint(user: AbstractBaseUser) -> int:
    """Return a number that changes when the user may have other rights.

    0 if that is unknown, because the columns were not read: no query may be sent on an event loop.
    """
    values, names = vars(user), _columns()
    return _hash(values[name] for name in names) if all(name in values for name in names) else 0


def _check(identity: Identity, room_code: str | None) -> ProtocolError | None:
    try:
        user = read_user(identity)
        if room_code is not None and not admission.may_stay(room_code, user):
            return errors.excluded()
    except TokenRefused as refusal:
        return refusal if refusal.close is not None else None
    except ProtocolError:  # the sessions are unavailable
        return None
    except Exception as error:
        if outages.is_refusal(error):
            raise
        # A bug in a hook of the site, which a join would report.
        logger.exception("Could not check an identity")
    return None


def _columns() -> list[str]:
    """Return the columns that identities depend on: the password, and whatever is true or false.

    Other columns may change with each request. All of them count, except ``last_login``, if the
    model has rules of its own for ``is_active`` or the hash that sessions prove.
    """
    model: Any = get_user_model()
    fields = {field.attname: field for field in model._meta.concrete_fields}
    if "is_active" in fields and all(
        getattr(model, name, None) is getattr(AbstractBaseUser, name) for name in _HASHES
    ):
        return [
            name
            for name, field in fields.items()
            if name == "password" or isinstance(field, BooleanField)
        ]
    return [name for name in fields if name != "last_login"]


def _hash(values: Iterable[Any]) -> int:
    row = tuple(values)
    try:
        return hash(row)
    except TypeError:  # a JSON column
        return hash(repr(row))
