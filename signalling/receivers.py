"""Send domain events to connected peers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model, user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import receiver

from rooms.digests import digest
from rooms.models import Participant, Room
from rooms.signals import participant_removed, participants_lost, room_closed, room_mode_changed

from .peers import messages
from .peers.messages import Closed, Removed, RoomMessage, room_group
from .transport.tasks import spawn
from .worker import revocations

logger = logging.getLogger("signalling")


@receiver(room_closed, dispatch_uid="signalling.room_closed")
def announce_closed_room(*, room: Room, **kwargs: Any) -> None:
    """Notify all peers of a room, on all workers, that it was closed."""
    _publish(Closed(type="signalling.closed", room=room.code, reason="closed"))


@receiver(participant_removed, dispatch_uid="signalling.participant_removed")
def announce_removed_participant(*, participant: Participant, **kwargs: Any) -> None:
    """Notify a removed peer and the others in its room."""
    _publish(
        Removed(
            type="signalling.removed",
            room=participant.room.code,
            peer_id=participant.peer_id,
            reason=participant.reason,
        )
    )


@receiver(participants_lost, dispatch_uid="signalling.participants_lost")
def announce_lost_participants(
    *, left: list[Participant], away: list[Participant], **kwargs: Any
) -> None:
    """Notify the rooms of peers that have left, or are away, without announcing it themselves."""
    announcements: list[tuple[Room, RoomMessage]] = [
        (peer.room, messages.left(peer.room.code, peer.peer_id, peer.reason)) for peer in left
    ]
    for peer in away:
        assert peer.away_until is not None
        message = messages.away(peer.room.code, peer.peer_id, peer.channel_name, peer.away_until)
        announcements.append((peer.room, message))
    _publish_all(announcements)


@receiver(room_mode_changed, dispatch_uid="signalling.room_mode_changed")
def announce_changed_mode(
    *, room: Room, reason: str, surplus: list[Participant], **kwargs: Any
) -> None:
    """Notify a room of its new mode, and of the ``surplus`` peers that had to leave."""
    announcements: list[tuple[Room, RoomMessage]] = [
        (room, messages.mode_changed(room, reason, surplus))
    ]
    for peer in surplus:
        left = messages.left(room.code, peer.peer_id, Participant.Reason.DISCONNECTED)
        announcements.append((room, left))
    _publish_all(announcements)


def _publish_all(announcements: Iterable[tuple[Room, RoomMessage]]) -> None:
    """Publish all messages, even if one of them fails."""
    for room, message in announcements:
        try:
            _publish(message)
        except Exception as error:  # local peers are notified; other workers will refresh
            # Not the code: it admits to the room.
            logger.warning("Announcement to room %s delayed: %r", room.pk, error)


# --- Identities -------------------------------------------------------------------------------

RIGHTS = frozenset({"password", "is_active", "is_staff", "is_superuser"})
"""The columns of a user that are pushed. Workers find a change of any other one in their sweep."""
PERMISSIONS = ("groups", "user_permissions")
"""The relations of a user that give permissions; a custom user model need not have them."""
MAX_PUSHES = 10
"""Users of one change that are pushed one by one; with more of them, all users are checked."""
_pushes: set[asyncio.Task[None]] = set()


@receiver(post_save, dispatch_uid="signalling.saved_user")
def push_saved_user(
    *, instance: Any, created: bool, using: str, update_fields: Any = None, **kwargs: Any
) -> None:
    """Push a user who may have other rights now. There is no sender: it may be a proxy."""
    if created or not isinstance(instance, get_user_model()):
        return
    if update_fields is None or RIGHTS & {*update_fields}:
        _push_on_commit([instance.pk], using)


@receiver(post_delete, dispatch_uid="signalling.deleted_user")
def push_deleted_user(*, instance: Any, using: str, **kwargs: Any) -> None:
    """Push a deleted user, and all users when a group or a permission is deleted."""
    if isinstance(instance, get_user_model()):
        _push_on_commit([instance.pk], using)
    elif instance._meta.label in {"auth.Group", "auth.Permission"}:
        _push_on_commit(None, using)


@receiver(m2m_changed, dispatch_uid="signalling.changed_permissions")
def push_changed_permissions(
    *,
    sender: Any,
    instance: Any,
    action: str,
    reverse: bool,
    pk_set: set[Any] | None,
    using: str,
    **kwargs: Any,
) -> None:
    """Push the users whose groups or permissions have changed."""
    if not action.startswith("post_"):
        return
    user = get_user_model()
    if sender in [getattr(user, name).through for name in PERMISSIONS if hasattr(user, name)]:
        _push_on_commit(pk_set if reverse else [instance.pk], using)
    elif sender._meta.label == "auth.Group_permissions":
        _push_on_commit(None, using)


@receiver(user_logged_out, dispatch_uid="signalling.logged_out")
def push_signed_out(*, request: Any = None, user: Any = None, **kwargs: Any) -> None:
    """Push the session that is being signed out."""
    key = getattr(getattr(request, "session", None), "session_key", None)
    if user is not None:
        _push(str(user.pk), signed_out=digest(key) if key else "")


def _push_on_commit(user_ids: Collection[Any] | None, using: str) -> None:
    """Push users after the commit; all users for ``None``, and if there are too many."""
    users = [""] if user_ids is None or len(user_ids) > MAX_PUSHES else map(str, user_ids)
    for user in users:
        transaction.on_commit(partial(_push, user), using=using)


def _push(user: str, **options: str) -> None:
    """Send an ``IdentityChanged``, also from a view that calls synchronous code on its event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(revocations.push)(user, **options)
    else:
        spawn(revocations.push(user, **options), _pushes)


# --- The channel layer ------------------------------------------------------------------------


def _publish(message: RoomMessage) -> None:
    layer = get_channel_layer()
    if layer is not None:
        async_to_sync(layer.group_send)(room_group(message["room"]), message)
