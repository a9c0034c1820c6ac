"""Requests of a fake peer to the server, repeated until they are answered."""

from __future__ import annotations

from typing import Any, Literal

from signalling.client import ConnectionLost, RequestRefused, ResumingClient
from signalling.client.connection import Data

Payload = Literal["offer", "answer", "candidate"]
EVENTS: dict[Payload, str] = {
    "offer": "webrtc:offer", "answer": "webrtc:answer", "candidate": "webrtc:ice",
}  # fmt: skip


class RequestSender:
    """Sends requests on a client. Methods raise ``ClientClosed`` if the client has ended.

    Refusals are appended to ``errors``.
    """

    def __init__(self, client: ResumingClient) -> None:
        self.errors: list[Data] = []
        self._client = client

    async def relay(self, target: str, kind: Payload, payload: Any, **more: Any) -> None:
        """Send an offer, an answer or a candidate to a peer, or to a reserved id of the SFU."""
        await self.request(EVENTS[kind], {"targetPeerId": target, kind: payload, **more})

    async def request(self, event: str, data: Data) -> None:
        """Send a request. If the connection is lost before the answer, send it again.

        The server may then have processed it twice, which is harmless for all events used here.
        """
        while True:
            try:
                await self._client.request(event, data)
            except ConnectionLost:
                continue
            except RequestRefused as error:
                if error.code != "peer_not_found":  # the peer has left; peer:left will follow
                    self.errors.append(error.details)
            return
