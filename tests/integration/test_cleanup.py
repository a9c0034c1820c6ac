"""Any end of a membership, at any moment, leaves no live row and no group member."""

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
from tests.integration.wire import handshake

ENDINGS = ["close", "reset", "kill"]


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """A site whose tables a test can lock."""
    return make_site(
        engine="postgresql",
        redis=True,
        signalling={"CAN_JOIN": "tests.integration.hooks.can_join", "SFU": hooks.BROKEN_SFU},
    )


@pytest.fixture
def room(site: Site) -> str:
    return site.room()


@pytest.fixture
def lock(postgresql: PostgreSQL, site: Site) -> Iterator[Lock]:
    lock = Lock(postgresql, site)
    yield lock
    lock.close()


class EndingClient:
    """A client that closes its socket, resets the connection or is killed, without a leave."""

    def __init__(self, site: Site, ending: str) -> None:
        self.ending = ending
        self.site = site
        self.client: SignallingCommunicator | ClientProcess = (
            site.victim() if ending == "kill" else site.client("alice")
        )

    async def connect(self) -> None:
        if isinstance(self.client, SignallingCommunicator):
            await self.client.connect()

    async def send(self, event: str, **data: str) -> None:
        if isinstance(self.client, SignallingCommunicator):
            await self.client.send(event, data)
        else:
            self.client.send(event, **data)

    async def end(self) -> None:
        """End the connection, and wait until the server has logged it."""
        logged = self._disconnects()
        if isinstance(self.client, ClientProcess):
            self.client.kill()
        else:
            await getattr(self.client, self.ending)()
        eventually(lambda: self._disconnects() > logged, "the end of the connection")

    def _disconnects(self) -> int:
        return self.site.worker.output().count("WSDISCONNECT")


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_end_in_a_room_announces_one_leave(site: Site, room: str, ending: str) -> None:
    async with site.client("bob") as bob:
        await bob.join(room)
        alice = EndingClient(site, ending)
        await alice.connect()
        await alice.send("join:room", roomCode=room)
        joined = await bob.receive("peer:joined", within=10)
        await alice.end()
        left = await bob.receive("peer:left")
        assert left["peerId"] == joined["peerId"]
        assert left["reason"] == ("left" if ending == "close" else "disconnected")
        await bob.receive_nothing()
    site.wait_until_empty(room)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_end_during_a_join_frees_the_seat(
    site: Site, room: str, lock: Lock, ending: str
) -> None:
    async with site.client("bob") as bob:
        await bob.join(room)
        alice = EndingClient(site, ending)
        await alice.connect()
        with lock.hold(ROOM_LOCK, room):
            await alice.send("join:room", roomCode=room)
            lock.wait_until_blocking()
            await alice.end()
            assert site.database.live_rows(room) == 1
        # The join was completed without its socket, so both events are announced.
        joined, left = await bob.receive("peer:joined"), await bob.receive("peer:left")
        assert joined["peerId"] == left["peerId"]
        assert site.database.left_rows(room) == 1
        await bob.receive_nothing()
    site.wait_until_empty(room)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_end_during_a_leave_ends_the_membership_once(
    site: Site, room: str, lock: Lock, ending: str
) -> None:
    alice = EndingClient(site, ending)
    await alice.connect()
    await alice.send("join:room", roomCode=room)
    eventually(lambda: site.database.live_rows(room) == 1, "the join")
    with lock.hold(PEER_LOCK, room):
        await alice.send("leave:room")
        lock.wait_until_blocking()
        await alice.end()
    site.wait_until_empty(room)
    assert site.database.reasons(room) == ["left"]


@pytest.mark.parametrize("ending", ["reset", "kill"])
async def test_an_end_during_the_handshake_leaves_a_working_site(
    site: Site, lock: Lock, ending: str
) -> None:
    token = site.token("alice")  # before the table of users is locked
    with lock.hold(USERS_LOCK):
        if ending == "kill":
            victim = site.victim()
            lock.wait_until_blocking()
            victim.kill()
        else:
            send_and_reset(site, handshake(site, token), after=lock.wait_until_blocking)
    await assert_site_works(site)


def send_and_reset(site: Site, sent: bytes, after: object = None) -> None:
    """Send some bytes to the first worker, call ``after``, then reset the connection."""
    with socket.create_connection(("127.0.0.1", site.worker.port), timeout=5) as connection:
        connection.sendall(sent)
        if callable(after):
            after()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def assert_site_works(site: Site) -> None:
    room = site.room()
    async with site.client("bob") as bob:
        await bob.join(room)
        await bob.receive_nothing()
    site.wait_until_empty(room)


async def test_a_reset_within_the_handshake_or_the_first_frame_leaves_a_working_site(
    site: Site,
) -> None:
    room = site.room()
    payload = f'{{"event":"join:room","data":{{"roomCode":"{room}"}}}}'.encode()
    frame = bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload
    request = handshake(site, site.token("alice")) + frame
    for length in range(0, len(request) + 1, 13):
        send_and_reset(site, request[:length])
    send_and_reset(site, request)
    await assert_site_works(site)
    site.wait_until_empty(room)


async def test_joins_and_leaves_sent_without_waiting_are_all_handled(site: Site, room: str) -> None:
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


# --- Exceptions ---------------------------------------------------------------------------------


async def test_a_bug_in_the_join_policy_leaves_no_seat(site: Site, logs: Logs) -> None:
    logs.expect("broken on purpose")
    room = site.room(name=hooks.BROKEN)
    async with site.client("alice") as alice:
        with pytest.raises(RequestRefused, match="internal"):
            await alice.join(room)
        site.wait_until_empty(room)
        await alice.join(site.room())  # the socket can still join


async def test_a_bug_outside_a_request_closes_the_socket_and_frees_the_seat(
    site: Site, room: str, redis: Redis, logs: Logs
) -> None:
    logs.expect("Internal error")
    async with site.client("alice") as alice:
        await alice.join(room)
        layer = RedisChannelLayer(hosts=[redis.url])
        await layer.group_send(room_group(room), hooks.broken_mode(room))
        await alice.receive_error("internal")
        assert await alice.receive_close() == CloseCode.INTERNAL
        await layer.close()
    site.wait_until_empty(room)


async def test_a_leave_during_a_redis_outage_frees_the_seat(
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


# --- Shutdown of a worker -----------------------------------------------------------------------


async def wait_for_daphne() -> None:
    """Wait until Daphne 4.2 has removed the requests that have become sockets.

    For up to a second after a handshake, its ``kill_all_applications`` raises ``KeyError`` for such
    a request, cancels nothing, and the process ends without clean-up. Daphne removes them once a
    second, and a test cannot observe when.
    """
    await asyncio.sleep(2.2)


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_sigterm_ends_all_memberships_of_a_worker(
    make_site: MakeSite, server: ServerName
) -> None:
    site = make_site(server=server)
    rooms = [site.room(), site.room()]
    clients = [site.client(f"peer{number}") for number in range(6)]
    for number, client in enumerate(clients):
        await client.connect()
        await client.join(rooms[number % 2])
    if server == "daphne":
        await wait_for_daphne()
    site.worker.send_signal(signal.SIGTERM)
    for client in clients:
        await client.receive_close(within=15)
    site.worker.wait()
    assert site.database.live_rows() == 0
    assert sum(site.database.left_rows(room) for room in rooms) == 6


async def test_sigterm_during_a_join_frees_the_seat(
    make_site: MakeSite, postgresql: PostgreSQL
) -> None:
    site = make_site(engine="postgresql")
    room, lock = site.room(), Lock(postgresql, site)
    alice = site.client("alice")
    await alice.connect()
    await wait_for_daphne()
    with lock.hold(ROOM_LOCK, room):
        await alice.send("join:room", {"roomCode": room})
        lock.wait_until_blocking()
        site.worker.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)  # the worker may handle the signal first: both orders are valid
    lock.close()
    site.worker.wait()
    assert site.database.live_rows(room) == 0


def test_a_lock_excludes_other_connections(site: Site, lock: Lock, room: str) -> None:
    """The tests above rely on this."""
    with lock.hold(ROOM_LOCK, room), pytest.raises(psycopg.errors.LockNotAvailable):
        lock.take_without_waiting(ROOM_LOCK, room)
