"""How the peer of one socket follows the mode of its room."""

from __future__ import annotations

from signalling import protocol
from signalling.conf import SignallingSettings
from signalling.sfu import routes
from signalling.sfu.link import SfuLink

from . import messages
from .membership import Membership
from .messages import ModeChanged
from .replies import Replies


class RoomMode:
    """Notifies the client of the modes of its room, and connects the peer to the SFU."""

    def __init__(self, settings: SignallingSettings, replies: Replies) -> None:
        self._settings = settings
        self._replies = replies

    def follow(self, membership: Membership, claim: dict[str, int] | None) -> None:
        """Open or close the peer's connections to the SFU.

        ``claim`` names the connections that a resumed peer already has there.
        """
        if not (membership.mode.is_sfu or membership.link):
            return
        if membership.link is None:
            membership.link = SfuLink(membership, self._replies.push)
        membership.link.follow(
            membership.mode, claim=claim, close_after=self._settings.switch_seconds
        )

    def change(self, membership: Membership, message: ModeChanged) -> None:
        """Adopt a new mode and notify the client. An earlier one changes nothing."""
        mode = messages.announced_mode(message)
        if not mode.is_later_than(membership.mode):
            return
        membership.mode = mode
        event = routes.event(
            mode,
            membership.room_code,
            membership.peer_id,
            reason=message["reason"],
            until=message["until"],
        )
        self._replies.write(protocol.encode(event))
        self.follow(membership, None)
