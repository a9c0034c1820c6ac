"""Janus with its VideoRoom plugin (https://janus.conf.meetecho.com/docs/videoroom.html), 1.1 or newer.

::

    SIGNALLING = {
        "SFU": {
            "BACKEND": "signalling.sfu.janus.JanusSfu",
            "URL": "ws://127.0.0.1:8188",
            "ADMIN_KEY": "…",  # admin_key in janus.plugin.videoroom.jcfg: allows creating rooms
            "API_SECRET": "…",  # api_secret in janus.jcfg
        }
    }

Set ``string_ids = true`` in ``janus.plugin.videoroom.jcfg``, and ``reclaim_session_timeout = 30`` in
``janus.jcfg`` so that media survives a worker of this site. Do not expose the API of Janus: anyone
who can reach it can listen to calls.
"""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error

from signalling.sfu.base import Claim, Listener, Sfu, SfuRoom, Transports

from .connection import Connection
from .transports import JanusTransports
from .videoroom import VideoRoom

OPTIONS = {"BACKEND", "URL", "ADMIN_KEY", "API_SECRET", "BITRATE", "VIDEO_CODECS"}


class JanusSfu(Sfu):
    """A proxied backend for one Janus server. The module docstring describes its options."""

    is_proxied = True

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, options)
        self.connection = Connection(
            alias,
            options["URL"],
            options.get("API_SECRET", ""),
            probe=self.probe,
            on_down=self.mark_down,
            on_up=self.mark_up,
        )
        self.videoroom = VideoRoom(self.connection, options)

    @classmethod
    def check(cls, alias: str, options: dict[str, Any]) -> list[CheckMessage]:
        problems: list[CheckMessage] = []
        if not str(options.get("URL", "")).startswith(("ws://", "wss://")):
            problems.append(
                Error(
                    f"SFU {alias!r}: URL is {options.get('URL')!r}, not a WebSocket URL.",
                    hint="Set it to the WebSocket API of Janus, such as 'ws://127.0.0.1:8188'.",
                    id="signalling.E006",
                )
            )
        for key in sorted(options.keys() - OPTIONS):
            problems.append(
                Error(
                    f"SFU {alias!r}: unknown option {key!r}.",
                    hint=f"Known options: {', '.join(sorted(OPTIONS))}.",
                    id="signalling.E007",
                )
            )
        return problems

    async def probe(self) -> None:
        await self.videoroom.probe()

    def create_transports(self, room: SfuRoom, peer_id: str, listener: Listener) -> Transports:
        return JanusTransports(self.videoroom, room, peer_id, listener)

    async def open_room(self, room: SfuRoom) -> None:
        await self.videoroom.create(room)

    async def close_room(self, room: SfuRoom) -> None:
        await self.videoroom.destroy(room)

    async def rooms(self) -> set[SfuRoom]:
        return await self.videoroom.list_rooms()

    async def peers(self, room: SfuRoom) -> set[str]:
        return set(await self.videoroom.list_participants(room))

    async def carried(self, room: SfuRoom) -> set[str]:
        participants = await self.videoroom.list_participants(room)
        return {peer_id for peer_id, is_publisher in participants.items() if is_publisher}

    async def remove(self, room: SfuRoom, peer_id: str, claim: Claim | None) -> None:
        """Destroy the peer's session, because a kicked peer would still receive media."""
        if claim is not None:
            self.connection.send({"janus": "destroy", "session_id": claim["session"]})
        await self.videoroom.kick(room, peer_id)

    async def close(self) -> None:
        """Close the connection. The sessions of peers stay, for other workers to claim."""
        self.videoroom.close()
        await self.connection.close()
