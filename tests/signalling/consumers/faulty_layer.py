"""A channel layer whose methods fail on demand."""

from __future__ import annotations

import asyncio
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer


class FaultyLayer(InMemoryChannelLayer):
    """Channels' in-memory layer with faults that a test switches on.

    ``failing`` has the names of the methods that raise ``ConnectionError``, ``full`` the channels
    that raise ``ChannelFull``. While ``connection_lost`` is set, ``receive`` fails too.
    """

    def __init__(self) -> None:
        super().__init__(capacity=1000)
        self.failing: set[str] = set()
        self.full: set[str] = set()
        self.connection_lost = asyncio.Event()

    def _check(self, method: str) -> None:
        if method in self.failing:
            raise ConnectionError("the broker is unavailable")

    async def new_channel(self, prefix: str = "specific.") -> str:
        self._check("new_channel")
        name: str = await super().new_channel(prefix)
        return name

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self._check("send")
        if channel in self.full:
            raise ChannelFull(channel)
        await super().send(channel, message)

    async def receive(self, channel: str) -> Any:
        received = asyncio.ensure_future(super().receive(channel))
        lost = asyncio.ensure_future(self.connection_lost.wait())
        try:
            await asyncio.wait((received, lost), return_when=asyncio.FIRST_COMPLETED)
            if not received.done():
                raise ConnectionError("the broker is unavailable")
            return received.result()
        finally:
            lost.cancel()
            received.cancel()

    async def group_add(self, group: str, channel: str) -> None:
        self._check("group_add")
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._check("group_discard")
        await super().group_discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._check("group_send")
        await super().group_send(group, message)
