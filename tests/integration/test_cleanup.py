"""A membership that ends leaves no row and no group member, however and whenever it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from signalling.layers import RedisChannelLayer
from signalling.peers.messages import room_group
from signalling.protocol import CloseCode
from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration import hooks
from tests.integration.fixtures import Logs, MakeSite
from tests.integration.locks import PEER_LOCK, ROOM_LOCK, USERS_LOCK, Lock
from tests.integration.processes import ClientProcess, eventually
from tests.integration.servers import ServerName, Site
from tests.integration.stores import PostgreSQL, Redis, running
from tests.integration.traffic import handshake

WAYS = ["close", "reset", "is_killed"]


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """A site whose database calls can be blocked."""
    return make_site(
        engine="postgresql",
        redis=True,
        signalling={"CAN_JOIN": "tests.integration.hooks.can_join"},
    )


@pytest.fixture
def room(site: Site) -> str:
    return site.room()


@pytest.fixture
def lock(postgresql: PostgreSQL, site: Site) -> Iterator[Lock]:
    lock = Lock(postgresql, site)
    yield lock
    lock.close()


class LeavingClient:
    """A client that disconnects without leaving, in one of ``WAYS``."""

    def __init__(self, site: Site, way: str) -> None:
        self.way = way
        self.site = site
        self.client: SignallingCommunicator | ClientProcess = (
            site.victim() if way == "is_killed" else site.client("alice")
        )

    async def connect(self) -> None:
        if isinstance(self.client, SignallingCommunicator):
            await self.client.connect()

    async def send(self, event: str, **data: str) -> None:
        if isinstance(self.client, SignallingCommunicator):
            await self.client.send(event, data)
        else:
            self.client.send(event, **data)

    async def disconnect(self) -> None:
        """Disconnect, and wait until the server has noticed."""
        noticed = self._departures()
        if isinstance(self.client, ClientProcess):
            self.client.kill()
        else:
            await getattr(self.client, self.way)()
        eventually(lambda: self._departures() > noticed, "the end of the connection")

    def _departures(self) -> int:
        return self.site.worker.output().count("WSDISCONNECT")


@pytest.mark.parametrize("way", WAYS)
async def test_a_socket_that_closes_in_a_room(site: Site, room: str, way: str) -> None:
    async with site.client("bob") as bob:
        await bob.join(room)
        alice = LeavingClient(site, way)
        await alice.connect()
        await alice.send("join:room", roomCode=room)
        joined = await bob.receive("peer:joined", within=10)
        await alice.disconnect()
        left = await bob.receive("peer:left")
        assert left["peerId"] == joined["peerId"]
        assert left["reason"] == ("left" if way == "close" else "disconnected")
        await bob.receive_nothing()
    site.wait_until_empty(room)


@pytest.mark.parametrize("way", WAYS)
async def test_a_socket_that_closes_during_a_join(
    site: Site, room: str, lock: Lock, way: str
) -> None:
    async with site.client("bob") as bob:
        await bob.join(room)
        alice = LeavingClient(site, way)
        await alice.connect()
        with lock.holds(ROOM_LOCK, room):
            await alice.send("join:room", roomCode=room)
            lock.blocks_a_transaction()
            await alice.disconnect()
            assert site.database.live_rows(room) == 1
        # The join is completed without its socket, so the others receive both events.
        joined, left = await bob.receive("peer:joined"), await bob.receive("peer:left")
        assert joined["peerId"] == left["peerId"]
        assert site.database.left_rows(room) == 1
        await bob.receive_nothing()
    site.wait_until_empty(room)


@pytest.mark.parametrize("way", WAYS)
async def test_a_socket_that_closes_during_a_leave(
    site: Site, room: str, lock: Lock, way: str
) -> None:
    alice = LeavingClient(site, way)
    await alice.connect()
    await alice.send("join:room", roomCode=room)
    eventually(lambda: site.database.live_rows(room) == 1, "the join")
    with lock.holds(PEER_LOCK, room):
        await alice.send("leave:room")
        lock.blocks_a_transaction()
        await alice.disconnect()
    site.wait_until_empty(room)
    assert site.database.reasons(room) == ["left"]


@pytest.mark.parametrize("way", ["reset", "is_killed"])
async def test_a_socket_that_closes_during_a_connect(site: Site, lock: Lock, way: str) -> None:
    token = site.token("alice")  # before users can no longer be read
    with lock.holds(USERS_LOCK):
        if way == "is_killed":
            victim = site.victim()
            lock.blocks_a_transaction()
            victim.kill()
        else:
            cut_off(site, handshake(site, token), after=lock.blocks_a_transaction)
    await check_that_it_works(site)


def cut_off(site: Site, sent: bytes, after: object = None) -> None:
    """Send the first bytes of a connection, then reset it."""
    with socket.create_connection(("127.0.0.1", site.worker.port), timeout=5) as connection:
        connection.sendall(sent)
        if callable(after):
            after()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def check_that_it_works(site: Site) -> None:
    room = site.room()
    async with site.client("bob") as bob:
        await bob.join(room)
        await bob.receive_nothing()
    site.wait_until_empty(room)


async def test_a_reset_at_any_byte_of_the_handshake_and_the_first_frame(site: Site) -> None:
    room = site.room()
    payload = f'{{"event":"join:room","data":{{"roomCode":"{room}"}}}}'.encode()
    frame = bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload
    conversation = handshake(site, site.token("alice")) + frame
    for length in range(0, len(conversation) + 1, 13):
        cut_off(site, conversation[:length])
    cut_off(site, conversation)
    await check_that_it_works(site)
    site.wait_until_empty(room)


async def test_many_joins_and_leaves_without_waiting(site: Site, room: str) -> None:
    async with site.client("bob") as bob, site.client("alice") as alice:
        await bob.join(room)
        for _ in range(30):
            await alice.send("join:room", {"roomCode": room})
            await alice.send("leave:room")
        await alice.request("ping", within=20)
        for _ in range(30):
            await alice.receive("room:joined")
            joined, left = await bob.receive("peer:joined"), await bob.receive("peer:left")
            assert joined["peerId"] == left["peerId"]
        await bob.receive_nothing()
        await alice.receive_nothing()
        assert site.database.live_rows(room) == 1
    site.wait_until_empty(room)


# --- Exceptions ------------------------------------------------------------------------------------


async def test_a_join_that_fails_with_a_bug(site: Site, logs: Logs) -> None:
    logs.expect("broken on purpose")
    room = site.room(name=hooks.BROKEN)
    async with site.client("alice") as alice:
        with pytest.raises(RequestRefused, match="internal"):
            await alice.join(room)
        site.wait_until_empty(room)
        await alice.join(site.room())  # the socket is as good as before


async def test_a_bug_outside_of_any_request(
    site: Site, room: str, redis: Redis, logs: Logs
) -> None:
    logs.expect("Internal error")
    async with site.client("alice") as alice:
        await alice.join(room)
        layer = RedisChannelLayer(hosts=[redis.url])
        await layer.group_send(room_group(room), {"type": "no.such.handler"})
        await alice.receive_error("internal")
        assert await alice.receive_close() == CloseCode.INTERNAL
        await layer.close()
    site.wait_until_empty(room)


async def test_a_leave_while_redis_is_unavailable(
    make_site: MakeSite, tmp_path: Path, logs: Logs, room: str
) -> None:
    logs.expect("announcement delayed")
    with running(Redis(tmp_path)) as redis:
        site = make_site(redis=redis)
        room, other = site.room(), site.room()
        async with site.client("alice") as alice, site.client("bob") as bob:
            await alice.join(room)
            redis.stop()
            await bob.join(other)
            await alice.leave()
            assert site.database.live_rows() == 1
            await alice.request("ping")
            redis.start()
        site.stop()


# --- The end of a worker ---------------------------------------------------------------------------


async def wait_for_daphne_to_clean_up() -> None:
    """Let Daphne 4.2 sweep up the requests that have become sockets.

    For up to a second after any handshake its ``kill_all_applications`` stumbles (KeyError) over such
    a request, cancels nothing, and the process ends without any clean-up. Nothing shows from outside
    when its sweep, once a second, is through.
    """
    await asyncio.sleep(2.2)


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_sigterm_to_a_worker_with_peers_in_rooms(
    make_site: MakeSite, server: ServerName
) -> None:
    site = make_site(server=server)
    rooms = [site.room(), site.room()]
    clients = [site.client(f"peer{number}") for number in range(6)]
    for number, client in enumerate(clients):
        await client.connect()
        await client.join(rooms[number % 2])
    if server == "daphne":
        await wait_for_daphne_to_clean_up()
    site.worker.send_signal(signal.SIGTERM)
    for client in clients:
        await client.receive_close(within=15)
    site.worker.wait()
    assert site.database.live_rows() == 0
    assert sum(site.database.left_rows(room) for room in rooms) == 6


async def test_sigterm_to_a_worker_during_a_join(
    make_site: MakeSite, postgresql: PostgreSQL
) -> None:
    site = make_site(engine="postgresql")
    room, lock = site.room(), Lock(postgresql, site)
    alice = site.client("alice")
    await alice.connect()
    await wait_for_daphne_to_clean_up()
    with lock.holds(ROOM_LOCK, room):
        await alice.send("join:room", {"roomCode": room})
        lock.blocks_a_transaction()
        site.worker.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)  # if the signal comes first, that is right as well
    lock.close()
    site.worker.wait()
    assert site.database.live_rows(room) == 0


def test_the_lock_of_these_tests_blocks_others(site: Site, lock: Lock, room: str) -> None:
    """Other transactions cannot take what a ``Lock`` holds."""
    with lock.holds(ROOM_LOCK, room), pytest.raises(psycopg.errors.LockNotAvailable):
        lock.is_held_by_another(ROOM_LOCK, room)
