"""One socket of a client: opened, asked, lost. What ``signalling.client`` and ``signalling.testing`` share.

Needs the ``websockets`` package, from the first connection on, and no Django.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from signalling.protocol import SUBPROTOCOL

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

Data = dict[str, Any]

ABNORMAL = 1006
"""The close code of a connection that ended without one (RFC 6455, 7.1.5)."""


class Refused(Exception):
    """The server answered a request with an ``error``; ``code`` is its code, ``details`` all its data."""

    def __init__(self, event: str, error: Data) -> None:
        super().__init__(f"{event} was refused: {error}")
        self.code: str = error["code"]
        self.details = error


class Unanswered(Exception):
    """The connection was lost before the answer came: whether the request was done is unknown."""


async def open_socket(
    url: str, *, token: str | None = None, headers: Sequence[tuple[str, str]] = (), **options: Any
) -> ClientConnection:
    """Open a socket with a token in the ``Authorization`` header, and no pings but our own.

    ``options`` go to ``websockets.connect``, whose exceptions this raises; see ``is_passing``.
    """
    if token is not None:
        headers = [*headers, ("Authorization", f"Bearer {token}")]
    defaults = {
        "subprotocols": (SUBPROTOCOL,),
        "compression": None,
        "max_size": None,
        "close_timeout": 5.0,
        "ping_interval": None,
    }
    socket: ClientConnection = await websockets_package().connect(
        url, additional_headers=headers, **{**defaults, **options}
    )
    return socket


async def next_frame(socket: ClientConnection) -> str | None:
    """Return the next frame of a socket, None where it is closed."""
    try:
        return await socket.recv(decode=True)
    except websockets_package().ConnectionClosed:
        return None


class Connection:
    """One socket and what was asked on it: nothing of it is left when the next one is there."""

    def __init__(self, socket: ClientConnection, ids: Iterator[int]) -> None:
        self.socket = socket
        self.is_lost = False
        self.refusal: Refused | None = None
        self._ids = ids
        self._answers: dict[int, asyncio.Future[Data | None]] = {}

    async def say(self, event: str, data: Mapping[str, Any], **envelope: int) -> None:
        """Raises ``Unanswered``: what is written to a connection that breaks may have arrived."""
        try:
            await self.socket.send(json.dumps({"event": event, "data": data, **envelope}))
        except websockets_package().ConnectionClosed:
            await asyncio.sleep(
                0
            )  # or who asks again at once would keep the loss from being noticed
            raise Unanswered(event) from None

    async def request(self, event: str, data: Mapping[str, Any]) -> Data:
        request_id = next(self._ids)
        answer = self._answers[request_id] = asyncio.get_running_loop().create_future()
        try:
            if self.is_lost:
                raise Unanswered(event)
            await self.say(event, data, id=request_id)
            frame = await answer
        finally:
            del self._answers[request_id]
        if frame is None:
            raise Unanswered(event)
        said: Data = frame.get("data", {})
        if frame["event"] == "error":
            raise Refused(event, said)
        return said

    def is_answered(self, frame: Data) -> bool:
        """Give a frame to the request that it answers, and tell whether it is an answer at all."""
        answer = self._answers.get(frame.get("id", 0))
        if answer is not None and not answer.done():
            answer.set_result(frame)
        return "id" in frame

    def lose(self) -> None:
        self.is_lost = True
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(None)


def websockets_package() -> ModuleType:
    try:
        import websockets
    except ImportError as missing:
        raise ImportError(
            "The clients of signalling need the websockets package: pip install websockets"
        ) from missing
    return websockets
