"""The SFU connections of one peer.

A link belongs to a membership and follows the mode of its room. When the peer loses its socket, the
link stays and keeps the connections open. When the peer resumes, a new link claims them.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from rooms import switching as domain
from signalling import database, protocol
from signalling.protocol import SFU_PUBLISH, errors
from signalling.transport.loops import PerLoop
from signalling.transport.tasks import spawn

from . import routes
from .access import ClientAccess
from .base import (
    Candidate,
    Claim,
    Description,
    Direction,
    InvalidDescription,
    SfuError,
    SfuRoom,
    Stream,
    Transports,
)
from .client_events import ClientEvents, Member, Write
from .mode import MESH, Mode
from .registry import get_sfus

logger = logging.getLogger("signalling")

OPEN_TIMEOUT_SECONDS = 4.0  # how long a request waits for connections that are being opened
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 8.0
MAX_SECTIONS = 4  # media sections a peer may publish: microphone, camera, screen, data


class SfuLink:
    """The SFU connections of one membership. Implements ``Listener`` for its own transports."""

    def __init__(self, membership: Member, write: Write) -> None:
        self.membership = membership
        self.mode = MESH
        self.access: ClientAccess | None = None
        """Used instead of transports if the client connects to the SFU directly."""
        self._transports: Transports | None = None
        self._events = ClientEvents(membership, write)
        self._opening: asyncio.Task[None] | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._storing: set[asyncio.Task[None]] = set()
        self._outage_reported = False
        all_links().add(self)

    @property
    def room(self) -> SfuRoom:
        return routes.sfu_room(self.mode, self.membership.room_code)

    # --- Lifecycle ----------------------------------------------------------------------------

    def follow(self, mode: Mode, *, claim: Claim | None = None, close_after: float = 0.0) -> None:
        """Set up what ``mode`` needs and close what it does not need.

        ``claim`` identifies connections that the peer already has. When the room becomes a mesh, the
        connections stay open for ``close_after`` seconds while the mesh connects.
        """
        previous, self.mode = self.mode, mode
        if mode.is_sfu and mode.version == previous.version and previous.is_sfu:
            return
        if not mode.is_sfu and close_after:
            self._schedule_close(close_after)
            return
        self._close_transports()
        backend = get_sfus().get(mode.sfu) if mode.is_sfu else None
        if backend is not None and not backend.is_proxied:
            self.access = ClientAccess(
                backend, self.room, self.membership.peer_id, self._send_reset
            )
        elif backend is not None and self._events.is_attached:
            self._transports = backend.create_transports(self.room, self.membership.peer_id, self)
            self._opening = spawn(self._open(self._transports, claim), set())

    def detach_client(self) -> None:
        """Send nothing more to the client, but keep the connections: the peer lost its socket."""
        self._events.detach()

    def close(self) -> None:
        """Close the connections: the membership has ended."""
        all_links().discard(self)
        self._events.detach()
        self._leave()

    def release(self) -> None:
        """Keep the connections open for another link to claim: the peer resumed elsewhere."""
        all_links().discard(self)
        self._events.detach()
        if self._transports is not None:
            self._transports.release()
            self._transports = None
        self._close_transports()

    def _schedule_close(self, seconds: float) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._close_timer = asyncio.get_running_loop().call_later(seconds, self._leave)

    def _leave(self) -> None:
        if self.access is not None:
            self.access.revoke()
        self._close_transports()

    def _close_transports(self) -> None:
        self._cancel_pending()
        if self._transports is not None:
            self._transports.close()
            self._transports = None

    def _cancel_pending(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self.access is not None:
            self.access.stop()
            self.access = None

    async def _open(self, transports: Transports, claim: Claim | None) -> None:
        delay = RETRY_SECONDS
        while True:
            try:
                opened = await transports.open(claim)
                break
            except SfuError as error:
                logger.warning(
                    "%s could not enter the SFU room, retrying: %s", self.membership.peer_id, error
                )
                await asyncio.sleep(delay)
                delay = min(2 * delay, MAX_RETRY_SECONDS)
        if opened != claim:
            spawn(self._store_claim(opened), self._storing)
        is_claim_lost = claim is not None and opened != claim
        if is_claim_lost or delay > RETRY_SECONDS:
            self._send_reset()  # the client may have published to connections that do not exist

    async def _store_claim(self, claim: Claim) -> None:
        """Store a claim in the database, so that any worker can take over the connections."""
        member = self.membership
        store = database.database_sync(domain.save_claim, surroundings=member.surroundings)
        try:
            await store(member.peer_id, epoch=member.epoch, claim=claim)
        except database.DATABASE_UNAVAILABLE as error:
            logger.warning("SFU claim of %s not stored: %s", member.peer_id, error)

    # --- From the client ----------------------------------------------------------------------

    async def receive(self, event: protocol.Relay) -> None:
        """Pass an event for a reserved peer id to the SFU. Raises ``ProtocolError``."""
        if self._transports is None:
            raise errors.peer_not_found()
        direction: Direction = "publish" if event.target_peer_id == SFU_PUBLISH else "subscribe"
        try:
            transports = await self._wait_until_open(self._transports)
            await self._forward(transports, direction, event)
        except InvalidDescription as error:
            raise errors.bad_description(event.payload_name, str(error)) from None
        except SfuError as error:
            logger.warning("%s could not %s: %s", self.membership.peer_id, direction, error)
            raise errors.sfu_unavailable() from None

    async def restart(self, *, recreate: bool) -> None:
        """Restart ICE on the receiving connection, or recreate both connections.

        Raises ``ProtocolError``.
        """
        if not self.mode.is_sfu:  # connections that are about to close are not restarted
            raise errors.peer_not_found()
        try:
            if self.access is not None:
                await self.access.restart()
            elif self._transports is None:
                raise errors.peer_not_found()
            elif recreate:
                await self._recreate()
            else:
                await (await self._wait_until_open(self._transports)).restart()
        except SfuError:
            raise errors.sfu_unavailable() from None

    async def _forward(
        self, transports: Transports, direction: Direction, event: protocol.Relay
    ) -> None:
        payload = msgspec.json.decode(event.payload)
        if isinstance(event, protocol.WebrtcOffer) and _count_sections(payload) > MAX_SECTIONS:
            raise InvalidDescription(f"an SFU accepts at most {MAX_SECTIONS} media sections")
        if isinstance(event, protocol.WebrtcIce):
            transports.trickle(direction, payload, event.connection)
        elif isinstance(event, protocol.WebrtcOffer) and direction == "publish":
            self._events.answer(await transports.publish(payload))
        elif isinstance(event, protocol.WebrtcAnswer) and direction == "subscribe":
            await transports.answer(payload, event.connection)
        else:
            raise errors.peer_not_found()

    async def _wait_until_open(self, transports: Transports) -> Transports:
        if self._opening is not None:
            done, _ = await asyncio.wait([self._opening], timeout=OPEN_TIMEOUT_SECONDS)
            if not done or self._transports is not transports:
                raise SfuError("the connections are not open yet")
            done.pop().result()
        return transports

    async def _recreate(self) -> None:
        mode, self.mode = self.mode, MESH
        self.follow(mode)
        assert self._transports is not None
        await self._wait_until_open(self._transports)
        self._send_reset()

    # --- From the SFU -------------------------------------------------------------------------

    def on_offer(self, offer: Description, streams: list[Stream], connection: int) -> None:
        self._events.offer(offer, streams, connection)

    def on_candidate(self, direction: Direction, candidate: Candidate) -> None:
        self._events.candidate(direction, candidate)

    def on_claim_changed(self, claim: Claim) -> None:
        spawn(self._store_claim(claim), self._storing)

    def on_reset(self, claim: Claim) -> None:
        self.on_claim_changed(claim)
        self._send_reset()

    def on_sfu_down(self) -> None:
        """Notify the client of an outage. Called if the room is too large to become a mesh."""
        if not self._outage_reported:
            self._outage_reported = True
            self._events.mode(self.mode, "sfu_lost")

    def on_sfu_up(self) -> None:
        """Notify the client of the end of an outage that it was notified of."""
        if self._outage_reported:
            self._outage_reported = False
            self._events.mode(self.mode, "sfu_back")
        if self.access is not None:
            self.access.reopen()

    def _send_reset(self) -> None:
        self._events.reset(self.mode)


def _count_sections(description: Description) -> int:
    return sum(line.startswith("m=") for line in description["sdp"].splitlines())


_links: PerLoop[set[SfuLink]] = PerLoop(set)


def all_links() -> set[SfuLink]:
    """Return the links of all peers of the running event loop."""
    return _links.get()
