"""The process of a bystander: two peers of a room that relay to each other continuously.

Reads its arguments as one line of JSON, then commands, one a line, from standard input:

start     relay from now on
report    print a line of JSON about the time since the last report, or since the start
pause     stop relaying

``report`` waits until ``RELAYS`` relays have been sent in this time and all of them have arrived.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from itertools import count
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.contention import Clock, Moment

EVERY = 0.003
"""Seconds between two relays. The next one does not wait for the one before it."""
RELAYS = 120
PATIENCE = 30.0
"""Seconds to wait for relays; a worker that is frozen for longer counts as dead anyway."""


class Times:
    """What happened since the last report."""

    def __init__(self) -> None:
        self.relays: list[float] = []
        self.unexpected: list[Any] = []
        self.memory = 0
        self.sent = 0


class Pair:
    def __init__(self, sockets: list[ClientConnection], worker: int) -> None:
        self.times = Times()
        self.closed: list[int] = []
        self._sockets = sockets
        self.ids: list[str] = []
        self._clock = Clock(worker)
        self._statm = f"/proc/{worker}/statm"
        self._is_running = asyncio.Event()
        self._has_relayed = asyncio.Event()
        self._sent: dict[int, Moment] = {}
        self._unacknowledged: set[int] = set()
        self._latest = [-1, -1]

    async def join(self, room: str) -> None:
        request = json.dumps({"event": "join:room", "data": {"roomCode": room}})
        for connection in self._sockets:
            await connection.send(request)
            joined = json.loads(await connection.recv())
            assert joined["event"] == "room:joined", joined
            self.ids.append(joined["data"]["peerId"])
        arrived = json.loads(await self._sockets[0].recv())
        assert arrived["event"] == "peer:joined", arrived

    async def run(self) -> None:
        """Obey the commands until the end of the input."""
        work = [self._relay(), self._read(0), self._read(1)]
        tasks = [asyncio.create_task(each) for each in work]
        commands = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
        )
        while command := (await commands.readline()).decode().strip():
            match command:
                case "start":
                    self.times = Times()
                    self._is_running.set()
                case "pause":
                    self._is_running.clear()
                case "report":
                    answer(await self._report())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._sockets:
            await connection.close()

    async def _relay(self) -> None:
        for number in count():
            await self._is_running.wait()
            if number % 8 == 0:
                self.times.memory = max(self.times.memory, self._memory())
            sender = number % 2
            data = {"targetPeerId": self.ids[1 - sender], "candidate": str(number)}
            frame = json.dumps({"event": "webrtc:ice", "data": data, "id": number})
            self._unacknowledged.add(number)
            self._sent[number] = self._clock.now()
            self.times.sent += 1
            with suppress(ConnectionClosed):  # ``_read`` notes it
                await self._sockets[sender].send(frame)
            self._has_relayed.set()
            await asyncio.sleep(EVERY)

    async def _read(self, index: int) -> None:
        connection = self._sockets[index]
        with suppress(ConnectionClosed):
            async for text in connection:
                frame = json.loads(text)
                match frame:
                    case {"event": "ack", "id": int(number)}:
                        self._unacknowledged.discard(number)
                    case {"event": "webrtc:ice", "data": {"candidate": str(candidate)}}:
                        self._relayed(index, int(candidate), frame)
                    case _:
                        self.times.unexpected.append(frame)
        await connection.wait_closed()
        self.closed.append(connection.close_code or 1006)

    def _relayed(self, index: int, number: int, frame: Any) -> None:
        sent_at = self._sent.pop(number, None)
        if sent_at is None or number <= self._latest[index]:  # twice, or out of order
            self.times.unexpected.append(frame)
            return
        self._latest[index] = number
        self.times.relays.append(self._clock.since(sent_at))

    async def _report(self) -> dict[str, Any]:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self.times.sent < RELAYS and not self.closed:
                    await self._step()
                sent, acknowledged = set(self._sent), set(self._unacknowledged)
                while not self.closed and (
                    sent & self._sent.keys() or acknowledged & self._unacknowledged
                ):
                    await self._step()
        times, self.times = self.times, Times()
        waits = [self._clock.since(at) for at in self._sent.values()]
        overdue = [wait for wait in waits if wait > PATIENCE / 2]
        return {
            "relays": times.relays + overdue,
            "unexpected": times.unexpected,
            "closed": self.closed,
            "overdue": len(overdue),
            "memory": max(times.memory, self._memory()),
        }

    async def _step(self) -> None:
        """Wait for the next relay."""
        self._has_relayed.clear()
        await self._has_relayed.wait()

    def _memory(self) -> int:
        """Return the resident memory of the worker in bytes, 0 if it has ended."""
        with suppress(OSError), open(self._statm) as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0


def answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def read_line() -> bytes:
    """Read one line from standard input, and nothing after it."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    return line


async def main() -> None:
    arguments = json.loads(read_line())
    sockets = [
        await connect(
            arguments["url"],
            additional_headers={"Authorization": f"Bearer {token}"},
            compression=None,
            proxy=None,
        )
        for token in arguments["tokens"]
    ]
    pair = Pair(sockets, arguments["worker"])
    await pair.join(arguments["room"])
    answer({"ids": pair.ids})
    await pair.run()


if __name__ == "__main__":
    asyncio.run(main())
