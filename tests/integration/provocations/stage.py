"""The stage on which errors are provoked, and the registers of provocations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

from signalling.protocol import CloseCode, ErrorCode
from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import Logs
from tests.integration.servers import Site
from tests.integration.stores import PostgreSQL, Redis


@dataclass
class Stage:
    """The sites and stores of a provocation. Its clients are closed at the end of the test."""

    site: Site
    strict: Site
    fragile: Site
    postgresql: PostgreSQL
    redis: Redis
    logs: Logs
    stack: AsyncExitStack

    async def has(self, client: SignallingCommunicator) -> SignallingCommunicator:
        return await self.stack.enter_async_context(client)

    async def connect_pair(
        self, site: Site
    ) -> tuple[SignallingCommunicator, SignallingCommunicator]:
        """Return alice and bob in one room, without unread frames."""
        room = site.room()
        alice, bob = await self.has(site.client("alice")), await self.has(site.client("bob"))
        await alice.join(room)
        await bob.join(room)
        await alice.receive("peer:joined")
        return alice, bob

    async def connect_alice(
        self, event: str, data: dict[str, Any] | None = None
    ) -> SignallingCommunicator:
        """Connect alice and send an event. Its answer is not read."""
        alice = await self.has(self.site.client("alice"))
        await alice.send(event, data)
        return alice

    def stop_postgresql(self) -> None:
        self.logs.expect("Database unavailable")
        self.stack.callback(self.postgresql.start)
        self.postgresql.stop()


Provocation = Callable[[Stage], Awaitable[SignallingCommunicator]]
ERRORS: dict[ErrorCode, Provocation] = {}
CLOSES: dict[CloseCode, Provocation] = {}


def provokes_error(code: ErrorCode) -> Callable[[Provocation], Provocation]:
    def register(provocation: Provocation) -> Provocation:
        ERRORS[code] = provocation
        return provocation

    return register


def provokes_close(code: CloseCode) -> Callable[[Provocation], Provocation]:
    def register(provocation: Provocation) -> Provocation:
        CLOSES[code] = provocation
        return provocation

    return register


async def bob_stops_reading(stage: Stage) -> SignallingCommunicator:
    """Bob stops reading and alice relays to him until the buffers are full. She is not disturbed."""
    alice, bob = await stage.connect_pair(stage.site)
    await bob.pause_reading()
    answer = {"targetPeerId": bob.peer_id, "answer": {"type": "answer", "sdp": "v" * 40_000}}
    while not any(frame["event"] == "peer:left" for frame in alice.unread):
        with suppress(RequestRefused):  # first her share is full, at last bob is gone
            await alice.request("webrtc:answer", answer)
    bob.resume_reading()
    return bob


async def alice_is_removed(stage: Stage) -> SignallingCommunicator:
    """Another process removes alice. Bob receives her leave."""
    alice, bob = await stage.connect_pair(stage.strict)
    stage.strict.run_python(
        "from rooms import models, services; "
        f"services.remove_participant(models.Participant.objects.get(peer_id={alice.peer_id!r}))",
    )
    assert await bob.receive("peer:left") == {"peerId": alice.peer_id, "reason": "removed"}
    return alice
