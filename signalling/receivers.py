"""What the domain's signals set off on the wire."""

import logging
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.dispatch import receiver

from rooms.models import Participant, Room
from rooms.signals import participant_removed, participants_lost, room_closed, room_mode_changed

from .peers import messages
from .peers.messages import Closed, Removed, RosterChange, room_group
from .sfu import mode
from .sfu.mode import ModeChanged

logger = logging.getLogger("signalling")


@receiver(room_closed, dispatch_uid="signalling.room_closed")
def announce_closed_room(*, room: Room, **kwargs: Any) -> None:
    """Tell everybody in the room, on all workers, that it was closed."""
    _publish(room.code, Closed(type="signalling.closed", room=room.code, reason="closed"))


@receiver(participant_removed, dispatch_uid="signalling.participant_removed")
def announce_removed_participant(*, participant: Participant, **kwargs: Any) -> None:
    """Tell a peer that it was removed, and the others of its room that it has gone."""
    code, peer_id = participant.room.code, participant.peer_id
    _publish(code, Removed(type="signalling.removed", room=code, peer_id=peer_id))


@receiver(participants_lost, dispatch_uid="signalling.participants_lost")
def announce_lost_participants(
    *, left: list[Participant], away: list[Participant], **kwargs: Any
) -> None:
    """Tell the rooms of those who are gone for good, or for a while, without having said so."""
    for peer in left:
        code = peer.room.code
        _publish(code, messages.left(code, peer.peer_id, peer.reason))
    for peer in away:
        code = peer.room.code
        assert peer.away_until is not None
        _publish(code, messages.away(code, peer.peer_id, peer.channel_name, peer.away_until))


@receiver(room_mode_changed, dispatch_uid="signalling.room_mode_changed")
def announce_changed_mode(
    *, room: Room, reason: str, surplus: list[Participant], **kwargs: Any
) -> None:
    """Tell a room that its media travel in another way, and who has had to leave it because of that."""
    announcements: list[ModeChanged | RosterChange] = [mode.changed(room, reason, surplus)]
    announcements += (
        messages.left(room.code, peer.peer_id, Participant.Reason.DISCONNECTED) for peer in surplus
    )
    for message in announcements:
        try:
            _publish(room.code, message)
        except (
            Exception
        ) as error:  # other workers learn of it later, those of this one hear the rest
            logger.warning("some hear later that %s has another mode: %r", room.code, error)


def _publish(room_code: str, message: Closed | Removed | RosterChange | ModeChanged) -> None:
    layer = get_channel_layer()
    if layer is not None:
        async_to_sync(layer.group_send)(room_group(room_code), message)
