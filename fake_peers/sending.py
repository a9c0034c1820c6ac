"""How a fake peer speaks to the server: until it is sure that it was heard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

from signalling.client import ConnectionLost, RequestRefused, ResumingClient
from signalling.client.connection import Data

What = Literal["offer", "answer", "candidate"]
EVENTS: dict[What, str] = {
    "offer": "webrtc:offer", "answer": "webrtc:answer", "candidate": "webrtc:ice",
}  # fmt: skip


class Speaker:
    """All of it raises ``ClientClosed`` where the client has ended; refusals are kept in ``errors``."""

    def __init__(self, client: ResumingClient) -> None:
        self.errors: list[Data] = []
        self._client = client

    async def relay(self, to: str, what: What, payload: Any, **more: Any) -> None:
        await self.request(EVENTS[what], {"targetPeerId": to, what: payload, **more})

    async def request(self, event: str, data: Data) -> None:
        await self._insist(partial(self._client.request, event, data))

    async def _insist(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Ask, and again where it is unknown whether that has arrived: twice does no harm."""
        while True:
            try:
                await ask()
            except ConnectionLost:
                continue
            except RequestRefused as refusal:
                if refusal.code != "peer_not_found":  # it has left, and we shall hear of it
                    self.errors.append(refusal.details)
            return
