"""What the domain's signals set off on the wire."""

import logging
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.dispatch import receiver

from rooms.models import Room
from rooms.signals import room_closed

from .groups import Closed, room_group

logger = logging.getLogger("signalling")


@receiver(room_closed, dispatch_uid="signalling.room_closed")
def announce_closed_room(*, room: Room, **kwargs: Any) -> None:
    """Tell everybody in the room, on all workers, that it was closed."""
    layer = get_channel_layer()
    if layer is None:
        return
    message = Closed(type="signalling.closed", room=room.code, reason="closed")
    async_to_sync(layer.group_send)(room_group(room.code), message)
