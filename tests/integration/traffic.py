"""Peers that relay continuously and account for each relay, and peers on bare sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, TypeVar

import psutil

from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.servers import Site, Worker
from tests.integration.wire import client_frame, handshake, server_frames

T = TypeVar("T")

SILENCE = 3600.0
"""Seconds to wait for the next relay: as long as the test runs."""


async def wait_until(check: Callable[[], T], what: str, *, within: float = 10.0) -> T:
    """Poll ``check`` without blocking the event loop, and return its first true value."""
    deadline = time.monotonic() + within
    while not (value := check()):
        assert time.monotonic() < deadline, f"{what}: still {value!r} after {within} s"
        await asyncio.sleep(0.05)
    return value


def memory(worker: Worker) -> int:
    """Return the resident memory of a worker, in bytes."""
    return int(psutil.Process(worker.pid).memory_info().rss)


# --- Peers that relay continuously ------------------------------------------------------------------


class RelayingPeer:
    """A peer that relays candidates to another peer and records the outcome of each."""

    def __init__(self, client: SignallingCommunicator) -> None:
        self.client = client
        self.acknowledged: set[str] = set()
        self.refused: dict[str, str] = {}
        self.received: Counter[str] = Counter()
        self.is_done = False
        self.latest = -1
        """The number of the last relay that arrived."""
        self.round_trips: list[float] = []

    async def relay_to(self, other: RelayingPeer, *, every: float = 0.004) -> None:
        """Relay until ``is_done``. Each relay has an ``id``, so the server answers it."""
        for number in count():
            if self.is_done:
                return
            note = f"{self.client.name} to {other.client.name}: {number}"
            data = {"targetPeerId": other.client.peer_id, "candidate": note}
            began = time.monotonic()
            try:
                await self.client.request("webrtc:ice", data, within=10)
                self.acknowledged.add(note)
            except RequestRefused as refusal:
                self.refused[note] = refusal.code
            self.round_trips.append(time.monotonic() - began)
            await asyncio.sleep(every)

    async def read_relays(self) -> None:
        while True:
            note = (await self.client.wait_for("webrtc:ice", within=SILENCE))["candidate"]
            self.received[note] += 1
            self.latest = int(note.rpartition(" ")[2])

    def lost_to(self, other: RelayingPeer) -> set[str]:
        """Return the relays that were acknowledged and did not arrive."""
        return self.acknowledged - other.received.keys()

    def reports_of(self, other: RelayingPeer) -> int:
        """Return how many losses the server has reported later, in errors without an ``id``."""
        errors = [frame for frame in self.client.unread if frame["event"] == "error"]
        assert all(error["data"]["code"] == "unavailable" for error in errors), errors
        return sum(error["data"].get("targetPeerId") == other.client.peer_id for error in errors)

    @property
    def roster(self) -> set[str]:
        """Return the ids of the peers in the room, according to the events that arrived."""
        peers = {peer["id"] for peer in self.client.room["peers"]}
        for frame in self.client.unread:
            if frame["event"] == "peer:joined":
                peers.add(frame["data"]["peerId"])
            elif frame["event"] == "peer:left":
                peers.remove(frame["data"]["peerId"])
        return peers | {self.client.peer_id}


class Conversation:
    """Six peers of a room on two workers: a pair on each worker, and a pair across them."""

    def __init__(self, site: Site, room: str) -> None:
        self.site = site
        self.room = room
        places = {"anna": 0, "boris": 1, "clara": 0, "dmitri": 0, "emma": 1, "fjodor": 1}
        self.peers = [RelayingPeer(site.client(name, worker=at)) for name, at in places.items()]
        pairs = list(zip(self.peers[::2], self.peers[1::2], strict=True))
        self.remote_pair, self.local_pairs = pairs[0], pairs[1:]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def directions(self) -> list[tuple[RelayingPeer, RelayingPeer]]:
        pairs = [self.remote_pair, *self.local_pairs]
        return [*pairs, *((second, first) for first, second in pairs)]

    async def start(self) -> None:
        for peer in self.peers:
            await peer.client.connect()
            await peer.client.join(self.room)
        for peer in self.peers:
            await wait_until(lambda t=peer: len(t.roster) == 6, "the roster")  # type: ignore[misc]
            self._spawn(peer.read_relays())
        for first, second in self.directions:
            self._spawn(first.relay_to(second))
        await self.wait_for_relays(self.remote_pair, *self.local_pairs)

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def wait_for_relays(
        self, *pairs: tuple[RelayingPeer, RelayingPeer], within: float = 5.0
    ) -> None:
        """Wait until a relay in each direction arrives that was sent after this call."""
        directions = [*pairs, *((second, first) for first, second in pairs)]
        # The relay that is under way has the number of answered relays.
        sent = [len(sender.round_trips) for sender, _ in directions]

        def have_arrived() -> bool:
            return all(
                receiver.latest > number
                for (_, receiver), number in zip(directions, sent, strict=True)
            )

        await wait_until(have_arrived, "relays in each direction", within=within)

    async def check_rosters_against_database(self) -> None:
        """Wait until the rosters of all peers are equal to the database."""

        def is_known() -> bool:
            present = self.site.database.live_peers(self.room)
            return all(peer.roster == present for peer in self.peers)

        await wait_until(is_known, "a roster like the database's")

    async def finish(self) -> None:
        """End the conversation. Check that every loss was reported and no socket closed."""
        for peer in self.peers:
            peer.is_done = True
        await asyncio.gather(*self._tasks[len(self.peers) :])
        await wait_until(self._is_accounted_for, "an account of every relay")
        assert [peer.client.close_code for peer in self.peers] == [None] * 6
        for first, second in self.directions:
            assert set(first.refused.values()) <= {"unavailable", "peer_busy"}, first.refused
            assert set(second.received.values()) == {1}, "a relay arrived twice"

    def _is_accounted_for(self) -> bool:
        return all(
            len(first.lost_to(second)) <= first.reports_of(second)
            for first, second in self.directions
        )

    async def close(self) -> None:
        for peer in self.peers:
            await peer.client.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def conversation(site: Site) -> AsyncIterator[Conversation]:
    """Run a conversation in a new room. At its end every relay must be accounted for."""
    talk = Conversation(site, site.room())
    try:
        await talk.start()
        yield talk
        await talk.finish()
    finally:
        await talk.close()


# --- Peers that read too slowly ------------------------------------------------------------------------


class RawSocket:
    """A peer on a bare TCP socket. It reads only when the test tells it to."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name
        self.peer_id = ""
        self.port = 0
        self._socket = socket.socket()
        # It only has an effect before the connection is made.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)
        self._buffer = bytearray()

    async def join(self, room: str) -> None:
        """Connect and join. Nothing is read afterwards."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            await loop.sock_connect(self._socket, ("127.0.0.1", self.site.worker.port))
            self.port = self._socket.getsockname()[1]
            await loop.sock_sendall(self._socket, handshake(self.site, self.site.token(self.name)))
            while b"\r\n\r\n" not in self._buffer:
                await self.read(1)
            self._buffer.clear()
            await self.send("join:room", {"roomCode": room})
            opcode, payload = await self.frame()
            assert opcode == 1, payload
            self.peer_id = json.loads(payload)["data"]["peerId"]

    async def send(self, event: str, data: dict[str, Any] | None = None) -> None:
        payload = json.dumps({"event": event, "data": data or {}}).encode()
        await asyncio.get_running_loop().sock_sendall(self._socket, client_frame(payload))

    async def read(self, size: int) -> int:
        """Read at most ``size`` bytes from the socket and return how many; 0 at its end."""
        try:
            taken = await asyncio.get_running_loop().sock_recv(self._socket, size)
        except ConnectionError:
            return 0
        self._buffer += taken
        return len(taken)

    async def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame, or opcode -1 at the end of the connection."""
        while True:
            for found in server_frames(self._buffer):
                return found
            if not await self.read(1 if not self.peer_id else 65_536):
                return -1, b""

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield opcode and payload of the frames that have been read completely."""
        yield from server_frames(self._buffer)

    def is_open(self) -> bool:
        """Return whether the server still has the connection."""
        connections = psutil.Process(self.site.worker.pid).net_connections("tcp")
        return any(each.raddr and each.raddr.port == self.port for each in connections)

    def close(self) -> None:
        self._socket.close()
