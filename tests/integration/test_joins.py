"""The statements of a join, and the one lock that it waits for: that of its own room."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from rooms.models import Room
from signalling.testing import SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.locks import PEER_LOCK, ROOM_LOCK, Lock
from tests.integration.servers import Site
from tests.integration.stores import PostgreSQL
from tests.integration.traffic import wait_until

ROOMS = 200
UNBLOCKED_SECONDS = 1.0
"""A generous upper limit for a join that waits for no lock."""


@pytest.fixture(scope="module")
def site(make_site: MakeSite, postgresql: PostgreSQL) -> Site:
    """A site whose database logs all statements, without those of heartbeats."""
    leases = {"LEASE_SECONDS": 600, "LEASE_RENEWAL": 200}
    site = make_site(engine="postgresql", workers=0, signalling=leases)
    with postgresql.connect("postgres") as connection:
        connection.execute(
            f"ALTER DATABASE \"{site.database.name}\" SET log_statement = 'all'".encode()
        )
    site.start_worker()
    return site


@pytest.fixture
def lock(postgresql: PostgreSQL, site: Site) -> Iterator[Lock]:
    lock = Lock(postgresql, site)
    yield lock
    lock.close()


async def statements_of_a_join(
    site: Site, postgresql: PostgreSQL, client: SignallingCommunicator, room: str
) -> list[str]:
    """Return the first words of each statement of a join, in order."""
    start = len(postgresql.output())
    await client.join(room)
    await wait_until(lambda: "COMMIT" in postgresql.output()[start:], "the commit in the log")
    statements = re.findall(
        r"LOG:  (?:statement|execute [^:]*): (\w+ \S*)", postgresql.output()[start:]
    )
    await client.leave()
    return statements


async def test_a_join_runs_the_same_statements_on_a_full_site(
    site: Site, postgresql: PostgreSQL
) -> None:
    room = site.room()
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(site.client("alice"))
        await statements_of_a_join(site, postgresql, alice, room)  # opens the database connection
        on_an_empty_site = await statements_of_a_join(site, postgresql, alice, room)

        codes = site.database.run(lambda: create_rooms(site))
        clients = [site.client(f"guest{number % 10}") for number in range(ROOMS)]
        for start in range(0, ROOMS, 50):
            await asyncio.gather(
                *(
                    connect_and_join(stack, client, code)
                    for client, code in zip(
                        clients[start : start + 50], codes[start : start + 50], strict=True
                    )
                )
            )
        assert site.database.live_rows() == ROOMS
        on_a_full_site = await statements_of_a_join(site, postgresql, alice, room)
    site.wait_until_empty(within=30)  # the leaves would delay the next test
    assert on_a_full_site == on_an_empty_site
    assert any(statement.startswith("INSERT") for statement in on_a_full_site)


def create_rooms(site: Site) -> list[str]:
    rooms = [Room(code=f"ROOM{number:04}") for number in range(ROOMS)]
    return [room.code for room in Room.objects.using(site.database.alias).bulk_create(rooms)]


async def connect_and_join(
    stack: AsyncExitStack, client: SignallingCommunicator, room: str
) -> None:
    await stack.enter_async_context(client)
    await client.join(room, within=20)


async def test_a_join_does_not_wait_for_the_lock_of_another_room(site: Site, lock: Lock) -> None:
    locked, free = site.room(), site.room()
    async with site.client("alice") as alice, site.client("bob") as bob:
        with lock.hold(ROOM_LOCK, locked):
            joining = asyncio.create_task(alice.join(locked, within=20))
            await asyncio.to_thread(lock.wait_until_blocking)
            await bob.join(free, within=UNBLOCKED_SECONDS)
            await bob.leave()
            async with site.client("carol") as carol:  # a handshake does not wait either
                await carol.request("ping", within=UNBLOCKED_SECONDS)
            assert not joining.done()
        await joining
        await alice.receive_nothing()


async def test_joins_of_one_room_wait_for_each_other_and_all_succeed(
    site: Site, lock: Lock
) -> None:
    """More joins wait than the worker has database threads and connections."""
    room = site.room()
    async with AsyncExitStack() as stack:
        clients = [site.client(f"guest{number}") for number in range(10)]
        for client in clients:
            await stack.enter_async_context(client)
        with lock.hold(ROOM_LOCK, room):
            joins = [asyncio.create_task(client.join(room, within=20)) for client in clients]
            await asyncio.to_thread(lock.wait_until_blocking)
        rooms = await asyncio.gather(*joins)
        assert sorted(len(each["peers"]) for each in rooms) == list(range(10))
    site.wait_until_empty(room)


async def test_a_resume_that_waits_leaves_the_key_of_its_room_unlocked(
    site: Site, lock: Lock
) -> None:
    """Other transactions check references to the room at their commit.

    The end of a worker updates its peers twice, so PostgreSQL checks their rooms again. It held the
    row that a resume was waiting for, and waited for the room that the resume had locked.
    """
    room = site.room()
    async with site.client("bob") as bob, site.client("bob") as again:
        token = (await bob.join(room, resumable=True))["resumeToken"]
        with lock.hold(PEER_LOCK, room):
            resuming = asyncio.create_task(again.resume(room, token))
            await asyncio.to_thread(lock.wait_until_blocking)
            key = "SELECT 1 FROM signalling_rooms_room WHERE code = %s FOR KEY SHARE"
            lock.take_without_waiting(key, room)
        assert (await asyncio.wait_for(resuming, 10))["resumed"] is True
