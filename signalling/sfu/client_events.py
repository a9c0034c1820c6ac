"""The events about an SFU that this server sends to the client of a peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from signalling import protocol
from signalling.database import Surroundings
from signalling.protocol import SFU_PUBLISH, SFU_SUBSCRIBE

from . import routes
from .base import Candidate, Description, Direction, Stream
from .mode import Mode

Write = Callable[[str], None]
"""Sends a frame to the client. Must not raise."""


class Member(Protocol):
    """The part of a membership that the SFU code uses."""

    room_code: str
    peer_id: str
    epoch: int

    @property
    def surroundings(self) -> Surroundings: ...


class ClientEvents:
    """Sends events to the client of one peer until ``detach``; after that, drops them."""

    def __init__(self, membership: Member, write: Write) -> None:
        self.membership = membership
        self._write: Write | None = write

    @property
    def is_attached(self) -> bool:
        return self._write is not None

    def detach(self) -> None:
        self._write = None

    def offer(self, offer: Description, streams: list[Stream], connection: int) -> None:
        self._send(
            protocol.RelayedOffer(
                self.membership.peer_id,
                _raw(offer),
                SFU_SUBSCRIBE,
                [protocol.SfuStream(*stream) for stream in streams],
                connection,
            )
        )

    def answer(self, answer: Description) -> None:
        self._send(protocol.RelayedAnswer(self.membership.peer_id, _raw(answer), SFU_PUBLISH))

    def candidate(self, direction: Direction, candidate: Candidate) -> None:
        sender = SFU_PUBLISH if direction == "publish" else SFU_SUBSCRIBE
        self._send(protocol.RelayedIce(self.membership.peer_id, _raw(candidate), sender))

    def mode(self, mode: Mode, reason: str) -> None:
        """Send ``room:mode``."""
        code, peer_id = self.membership.room_code, self.membership.peer_id
        self._send(routes.event(mode, code, peer_id, reason=reason))

    def reset(self, mode: Mode) -> None:
        """Send ``sfu:reset``: the client sets up its connections to the SFU again."""
        sfu = routes.route(mode, self.membership.room_code, self.membership.peer_id)
        if sfu is not None:
            self._send(protocol.SfuReset(sfu=sfu))

    def _send(self, event: protocol.ServerEvent) -> None:
        if self._write is not None:
            self._write(protocol.encode(event))


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
