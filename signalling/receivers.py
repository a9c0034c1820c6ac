"""Send domain events to connected peers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.dispatch import receiver

from rooms.models import Participant, Room
from rooms.signals import participant_removed, participants_lost, room_closed, room_mode_changed

from .peers import messages
from .peers.messages import Closed, Removed, RoomMessage, room_group

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
            version=participant.roster_version,
        )
    )


@receiver(participants_lost, dispatch_uid="signalling.participants_lost")
def announce_lost_participants(
    *, left: list[Participant], away: list[Participant], **kwargs: Any
) -> None:
    """Notify the rooms of peers that have left, or are away, without announcing it themselves."""
    announcements: list[tuple[Room, RoomMessage]] = [
        (peer.room, _left(peer.room, peer, peer.reason)) for peer in left
    ]
    for peer in away:
        assert peer.away_until is not None
        message = messages.away(
            peer.room.code,
            peer.peer_id,
            peer.channel_name,
            peer.away_until,
            version=peer.roster_version,
        )
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
        announcements.append((room, _left(room, peer, Participant.Reason.DISCONNECTED)))
    _publish_all(announcements)


def _left(room: Room, peer: Participant, reason: str) -> RoomMessage:
    return messages.left(room.code, peer.peer_id, reason, version=peer.roster_version)


def _publish_all(announcements: Iterable[tuple[Room, RoomMessage]]) -> None:
    """Publish all messages, even if one of them fails."""
    for room, message in announcements:
        try:
            _publish(message)
        except Exception as error:  # local peers are notified; other workers will refresh
            # Not the code: it admits to the room.
            logger.warning("Announcement to room %s delayed: %r", room.pk, error)


def _publish(message: RoomMessage) -> None:
    layer = get_channel_layer()
    if layer is not None:
        async_to_sync(layer.group_send)(room_group(message["room"]), message)
