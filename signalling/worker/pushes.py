"""Pushes: messages to all workers that something about a user has changed.

``connect`` connects the receivers of Django's signals that send them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from time import monotonic
from typing import Any, Literal, TypedDict
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.apps import apps
from django.contrib.auth import get_user_model, user_logged_out
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import m2m_changed, post_delete, post_save

from rooms.digests import digest
from rooms.logs import RareWarning
from signalling.auth.identity import user_key
from signalling.transport.tasks import spawn

GROUP = "signalling.identities"
"""The group that every worker joins. Pushes are rare and small, so one for all users suffices."""
RIGHTS = frozenset({"password", "is_active", "is_staff", "is_superuser"})
"""The columns of a user that are pushed. Workers find a change of others in their sweep."""
PERMISSIONS = ("groups", "user_permissions")
"""The relations of a user that give permissions; a custom user model need not have them."""
MAX_USERS = 100
"""Users of one transaction that are named; with more of them, all users are checked."""
PUSH_SECONDS = 1.0
"""How long a push may take: the request that saves a user waits for it."""
PAUSE_SECONDS = 10.0
"""After a failure, no user is pushed for this time: the sweep finds most changes too."""

ALL = ""
"""In a batch: all users."""
_batches: WeakKeyDictionary[BaseDatabaseWrapper, set[str]] = WeakKeyDictionary()
"""The users that the current transaction of a connection has changed."""
_pushes: set[asyncio.Task[None]] = set()
_failure = RareWarning(
    logging.getLogger("signalling"), "Channel layer unavailable, revocation delayed: %r"
)


class IdentityChanged(TypedDict):
    """To all workers: something about these users has changed, or about any user if it is empty.

    ``signed_out`` is the digest of a session that was signed out. ``rotated`` is the digest of a
    session and its new key. Either may be empty.
    """

    type: Literal["signalling.identity"]
    users: list[str]
    signed_out: str
    rotated: list[str]


class _Outage:
    ends_at = 0.0
    """No user is pushed before this time (``time.monotonic``)."""


async def push(users: Iterable[str], *, signed_out: str = "", rotated: Iterable[str] = ()) -> None:
    """Send an ``IdentityChanged`` to all workers.

    A failure is logged: most of what a push reports, the next sweep finds too. For some seconds
    after it, only sessions are pushed.
    """
    message = IdentityChanged(
        type="signalling.identity", users=[*users], signed_out=signed_out, rotated=[*rotated]
    )
    layer = get_channel_layer()
    is_about_session = bool(message["signed_out"] or message["rotated"])
    if layer is None or (monotonic() < _Outage.ends_at and not is_about_session):
        return
    try:
        async with asyncio.timeout(PUSH_SECONDS):
            await layer.group_send(GROUP, message)
    except Exception as error:
        _Outage.ends_at = monotonic() + PAUSE_SECONDS
        _failure.log(error)


# --- Signals ----------------------------------------------------------------------------------


def connect() -> None:
    """Connect the receivers to the models of users and permissions, and to no others.

    With a receiver of ``post_delete`` for all senders, Django deletes no rows of any model without
    reading them first.
    """
    for model in user_models():
        post_save.connect(push_saved_user, sender=model)
        post_delete.connect(push_deleted_user, sender=model)
    group, permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for model in (group, permission):
        post_delete.connect(push_all_users, sender=model)
    for name in PERMISSIONS:
        through = getattr(getattr(get_user_model(), name, None), "through", None)
        if through is not None:
            m2m_changed.connect(push_changed_permissions, sender=through)
    m2m_changed.connect(push_all_users, sender=group.permissions.through)
    user_logged_out.connect(push_signed_out)


def user_models() -> list[Any]:
    """Return the user model, its proxies, and the models that inherit its table."""
    return [model for model in apps.get_models() if issubclass(model, get_user_model())]


def push_saved_user(
    *, instance: Any, created: bool, using: str, update_fields: Any = None, **kwargs: Any
) -> None:
    """Push a user who may have other rights now."""
    if not created and (update_fields is None or RIGHTS & {*update_fields}):
        _push_on_commit([instance.pk], using)


def push_deleted_user(*, instance: Any, using: str, **kwargs: Any) -> None:
    _push_on_commit([instance.pk], using)


def push_all_users(*, using: str, action: str = "post_", **kwargs: Any) -> None:
    """Push all users, when a group or a permission is deleted or given to a group."""
    if action.startswith("post_"):
        _push_on_commit(None, using)


def push_changed_permissions(
    *, instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, using: str, **kwargs: Any
) -> None:
    """Push the users whose groups or permissions have changed."""
    if action.startswith("post_"):
        _push_on_commit(pk_set if reverse else [instance.pk], using)


def push_signed_out(*, request: Any = None, user: Any = None, **kwargs: Any) -> None:
    """Push the session that is being signed out."""
    key = getattr(getattr(request, "session", None), "session_key", None)
    if user is not None:
        _push([user_key(user.pk)], signed_out=digest(key) if key else "")


def _push_on_commit(user_ids: Iterable[Any] | None, using: str) -> None:
    """Push users after the commit, in one message for a transaction; all users for ``None``."""
    connection = transaction.get_connection(using)
    if connection not in _batches or not connection.run_on_commit:  # a former one was rolled back
        _batches[connection] = set()
    batch = _batches[connection]
    batch |= {ALL} if user_ids is None else {*map(user_key, user_ids)}
    if ALL in batch or len(batch) > MAX_USERS:
        batch.clear()
        batch.add(ALL)
    # For each change, because a savepoint may be rolled back. The first one that is called sends.
    transaction.on_commit(partial(_flush, batch), using=using)


def _flush(batch: set[str]) -> None:
    if batch:
        users = [] if ALL in batch else sorted(batch)
        batch.clear()
        _push(users)


def _push(users: list[str], **options: str) -> None:
    """Send an ``IdentityChanged``, also from a view that calls synchronous code on its event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(push)(users, **options)
    else:
        spawn(push(users, **options), _pushes)
