"""What one peer has to do with the SFU of its room: its connections, while the room is routed there.

A link belongs to the membership. While the peer is away it says nothing and keeps the connections; where
the peer resumes, another link claims them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

import msgspec

from rooms import switching as domain
from signalling import database, protocol, sfu
from signalling.protocol import SFU_PUBLISH, SFU_SUBSCRIBE, errors
from signalling.transport.tasks import spawn

from . import routes
from .access import ClientAccess
from .base import (
    BadDescription,
    Candidate,
    Claim,
    Description,
    Leg,
    SfuError,
    SfuRoom,
    Stream,
    Transports,
)
from .mode import MESH, Mode

logger = logging.getLogger("signalling")

OPEN_SECONDS = 4.0  # for a request to wait for connections that are being opened
AGAIN_SECONDS = 1.0
# Media sections of what one peer publishes, and everybody is sent: microphone, camera, screen, data
MAX_SECTIONS = 4

Write = Callable[[str], None]


class Member(Protocol):
    """A membership, as a link sees it."""

    room_code: str
    peer_id: str
    epoch: int


class SfuLink:
    """See the module; the ``Listener`` of its own connections.

    ``write`` sends a frame to the client and raises nothing.
    """

    def __init__(self, membership: Member, write: Write) -> None:
        self.membership = membership
        self.mode = MESH
        self._write: Write | None = write
        self._legs: Transports | None = None
        self.visit: ClientAccess | None = None
        """What it has instead of connections, where its client reaches the SFU by itself."""
        self._opening: asyncio.Task[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._remembering: set[asyncio.Task[None]] = set()
        self._is_told_of_loss = False
        all_links().add(self)

    @property
    def room(self) -> SfuRoom:
        return routes.sfu_room(self.mode, self.membership.room_code)

    # --- The mode of the room -----------------------------------------------------------------

    def follow(self, mode: Mode, *, claim: Claim | None = None, linger: float = 0.0) -> None:
        """Have what this mode needs. What an SFU carried before stays for ``linger`` seconds: a mesh has to
        take its place first."""
        before, self.mode = self.mode, mode
        if mode.is_sfu and mode.version == before.version and before.is_sfu:
            return
        if not mode.is_sfu and linger:
            self._linger(linger)
            return
        self._drop()
        backend = sfu.get_sfus().get(mode.sfu) if mode.is_sfu else None
        if backend is not None and not backend.is_proxied:
            self.visit = ClientAccess(backend, self.room, self.membership.peer_id, self._reset)
        elif backend is not None and self._write is not None:
            self._legs = backend.legs(self.room, self.membership.peer_id, self)
            self._opening = spawn(self._open(self._legs, claim), set())

    def fall_silent(self) -> None:
        """The peer has lost its socket: say nothing, keep all."""
        self._write = None

    def end(self, *, is_ours: bool = True) -> None:
        """The membership has ended; or, where it is not ours any more, it goes on elsewhere, and what it
        has in the SFU is claimed there."""
        all_links().discard(self)
        self._write = None
        if is_ours:
            self._leave()
        elif self._legs is not None:
            self._legs.release()
            self._legs = None
        self._drop()

    def _linger(self, seconds: float) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        loop = asyncio.get_running_loop()
        self._lingering = loop.call_later(seconds, self._leave)

    def _leave(self) -> None:
        if self.visit is not None:
            self.visit.end()
        self._drop()

    def _drop(self) -> None:
        self._cancel()
        if self._legs is not None:
            self._legs.close()
            self._legs = None

    def _cancel(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self.visit is not None:
            self.visit.stop()
            self.visit = None

    async def _open(self, legs: Transports, claim: Claim | None) -> None:
        wait = AGAIN_SECONDS
        while True:
            try:
                opened = await legs.open(claim)
                break
            except SfuError as error:
                logger.warning("%s cannot enter the SFU yet: %s", self.membership.peer_id, error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 8 * AGAIN_SECONDS)
        if opened != claim:
            spawn(self._remember(opened), self._remembering)
        if (claim is not None and opened != claim) or wait > AGAIN_SECONDS:
            self._reset()  # what the client has published, or tried to, is not there

    async def _remember(self, claim: Claim) -> None:
        """Write a claim down; without it another worker would make everything anew."""
        member = self.membership
        remember = database.database_sync(domain.save_claim)
        try:
            await remember(member.peer_id, epoch=member.epoch, claim=claim)
        except database.DATABASE_UNAVAILABLE as error:
            logger.warning("the connections of %s are not written down: %s", member.peer_id, error)

    # --- From the client ----------------------------------------------------------------------

    async def receive(self, event: protocol.Relay) -> None:
        """Pass on what the client sends to one of the reserved ids. Raises ``ProtocolError``."""
        if self._legs is None:
            raise errors.peer_not_found()
        leg: Leg = "publish" if event.target_peer_id == SFU_PUBLISH else "subscribe"
        try:
            legs = await self._opened(self._legs)
            await self._pass_on(legs, leg, event)
        except BadDescription as error:
            raise errors.bad_description(event.payload_name, str(error)) from None
        except SfuError as error:
            logger.warning("%s could not %s: %s", self.membership.peer_id, leg, error)
            raise errors.sfu_unavailable() from None

    async def restart(self, *, anew: bool) -> None:
        """Have the receiving connection restarted, or everything made anew. Raises ``ProtocolError``."""
        if not self.mode.is_sfu:  # what lingers is not worth mending
            raise errors.peer_not_found()
        try:
            if self.visit is not None:
                await self.visit.restart()
            elif self._legs is None:
                raise errors.peer_not_found()
            elif anew:
                await self._begin_anew()
            else:
                await (await self._opened(self._legs)).restart()
        except SfuError:
            raise errors.sfu_unavailable() from None

    async def _pass_on(self, legs: Transports, leg: Leg, event: protocol.Relay) -> None:
        payload = msgspec.json.decode(event.payload)
        if isinstance(event, protocol.WebrtcOffer) and _sections(payload) > MAX_SECTIONS:
            raise BadDescription(f"an SFU is offered {MAX_SECTIONS} media sections at most")
        if isinstance(event, protocol.WebrtcIce):
            legs.trickle(leg, payload, event.connection)
        elif isinstance(event, protocol.WebrtcOffer) and leg == "publish":
            answer = await legs.publish(payload)
            self._say(protocol.RelayedAnswer(self.membership.peer_id, _raw(answer), SFU_PUBLISH))
        elif isinstance(event, protocol.WebrtcAnswer) and leg == "subscribe":
            await legs.answer(payload, event.connection)
        else:
            raise errors.peer_not_found()

    async def _opened(self, legs: Transports) -> Transports:
        if self._opening is not None:
            done, _ = await asyncio.wait([self._opening], timeout=OPEN_SECONDS)
            if not done or self._legs is not legs:
                raise SfuError("the connections are not open yet")
            done.pop().result()
        return legs

    async def _begin_anew(self) -> None:
        mode, self.mode = self.mode, MESH
        self.follow(mode)
        assert self._legs is not None
        await self._opened(self._legs)
        self._reset()

    # --- From the SFU -------------------------------------------------------------------------

    def offered(self, offer: Description, streams: list[Stream], connection: int) -> None:
        self._say(
            protocol.RelayedOffer(
                self.membership.peer_id,
                _raw(offer),
                SFU_SUBSCRIBE,
                [protocol.SfuStream(*stream) for stream in streams],
                connection,
            )
        )

    def trickled(self, leg: Leg, candidate: Candidate) -> None:
        sender = SFU_PUBLISH if leg == "publish" else SFU_SUBSCRIBE
        self._say(protocol.RelayedIce(self.membership.peer_id, _raw(candidate), sender))

    def on_claim_changed(self, claim: Claim) -> None:
        spawn(self._remember(claim), self._remembering)

    def on_reset(self, claim: Claim) -> None:
        self.on_claim_changed(claim)
        self._reset()

    def was_lost(self) -> None:
        """The SFU does not answer, and a mesh cannot hold the room."""
        if not self._is_told_of_loss:
            self._is_told_of_loss = True
            self._tell("sfu_lost")

    def is_back(self) -> None:
        """It answers again."""
        if self._is_told_of_loss:
            self._is_told_of_loss = False
            self._tell("sfu_back")
        if self.visit is not None:
            self.visit.renew()

    def _tell(self, reason: str) -> None:
        code, peer_id = self.membership.room_code, self.membership.peer_id
        self._say(routes.event(self.mode, code, peer_id, reason=reason))

    def _reset(self) -> None:
        way = routes.route(self.mode, self.membership.room_code, self.membership.peer_id)
        if way is not None:
            self._say(protocol.SfuReset(sfu=way))

    def _say(self, event: protocol.ServerEvent) -> None:
        if self._write is not None:
            self._write(protocol.encode(event))


def _sections(description: Description) -> int:
    return sum(line.startswith("m=") for line in description["sdp"].splitlines())


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, set[SfuLink]] = WeakKeyDictionary()


def all_links() -> set[SfuLink]:
    """Return what the peers of the running event loop have to do with SFUs."""
    return _by_loop.setdefault(asyncio.get_running_loop(), set())
