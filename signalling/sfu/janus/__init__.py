"""Janus and its VideoRoom plugin (https://janus.conf.meetecho.com/docs/videoroom.html), 1.1 or newer.

    SIGNALLING = {
        "SFU": {
            "BACKEND": "signalling.sfu.janus.JanusSfu",
            "URL": "ws://127.0.0.1:8188",
            "ADMIN_KEY": "…",  # admin_key of janus.plugin.videoroom.jcfg: who may make rooms
            "API_SECRET": "…",  # api_secret of janus.jcfg
        }
    }

Janus needs ``string_ids = true`` in ``janus.plugin.videoroom.jcfg``, and a ``reclaim_session_timeout`` of
30 in ``janus.jcfg``, so that media outlive a worker of this site. Its API is for this server alone: whoever
reaches it can listen.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from django.core.checks import CheckMessage, Error
from django.utils.crypto import salted_hmac

from signalling.sfu.base import Claim, Listener, Sfu, SfuRefused, SfuRoom, Transports

from .connection import Connection, Message
from .session import Handle, JanusSession
from .transports import NO_SUCH_ROOM, JanusTransports

logger = logging.getLogger("signalling")

ROOM_EXISTS = 427
NO_SUCH_FEED = 428
SALT = "signalling.sfu.janus"
DESCRIPTION = "django-signalling"
KNOWN = {"BACKEND", "URL", "ADMIN_KEY", "API_SECRET", "BITRATE", "VIDEO_CODECS"}


class JanusSfu(Sfu):
    """See the module."""

    is_proxied = True

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, options)
        self.connection = Connection(
            options["URL"],
            options.get("API_SECRET", ""),
            probe=self.probe,
            on_down=self.go_down,
            on_up=self.come_up,
        )
        self._own: Handle | None = None
        self._owning = asyncio.Lock()
        # Several sites may share a Janus: each knows its rooms by this.
        self._prefix = salted_hmac(SALT, "rooms", algorithm="sha1").hexdigest()[:8]

    @classmethod
    def check(cls, alias: str, options: dict[str, Any]) -> list[CheckMessage]:
        problems: list[CheckMessage] = []
        if not str(options.get("URL", "")).startswith(("ws://", "wss://")):
            problems.append(
                Error(
                    f"The SFU {alias!r} has the URL {options.get('URL')!r}.",
                    hint="Give the WebSocket API of Janus, such as 'ws://127.0.0.1:8188'.",
                    id="signalling.E006",
                )
            )
        for key in sorted(options.keys() - KNOWN):
            problems.append(
                Error(
                    f"The SFU {alias!r} has no option {key!r}.",
                    hint=f"Known options: {', '.join(sorted(KNOWN))}.",
                    id="signalling.E007",
                )
            )
        return problems

    # --- Rooms --------------------------------------------------------------------------------

    def name(self, room: SfuRoom) -> str:
        return f"{self._prefix}.{room.id}.{room.version}"

    def secret(self, room: SfuRoom) -> str:
        """What moderates the room, the same for all workers of the site."""
        return salted_hmac(SALT, self.name(room), algorithm="sha1").hexdigest()

    async def probe(self) -> None:
        """The plugin itself must answer: Janus's core may do so while that hangs."""
        await self._ask("exists", room="")

    async def open_room(self, room: SfuRoom) -> None:
        try:
            await self._ask(
                "create",
                room=self.name(room),
                description=DESCRIPTION,
                secret=self.secret(room),
                is_private=True,
                admin_key=self.options.get("ADMIN_KEY", ""),
                publishers=room.total,
                notify_joining=True,
                bitrate=1000 * self.options.get("BITRATE", 1000),
                videocodec=self.options.get("VIDEO_CODECS", "vp8"),
                fir_freq=10,
            )
        except SfuRefused as refusal:
            if refusal.code != ROOM_EXISTS:
                raise

    async def close_room(self, room: SfuRoom) -> None:
        try:
            await self._ask("destroy", room=self.name(room), secret=self.secret(room))
        except SfuRefused as refusal:
            if refusal.code != NO_SUCH_ROOM:
                raise

    async def rooms(self) -> set[SfuRoom]:
        listed = await self._ask("list", admin_key=self.options.get("ADMIN_KEY", ""))
        names = (str(found["room"]).split(".") for found in listed["data"]["list"])
        return {
            SfuRoom(name[1], int(name[2]))
            for name in names
            if name[0] == self._prefix and len(name) == 3
        }

    async def peers(self, room: SfuRoom) -> set[str]:
        return set(await self.publishing(room))

    async def publishing(self, room: SfuRoom) -> dict[str, bool]:
        """Return who is in a room, and whether they publish. Raises ``SfuError``."""
        try:
            listed = await self._ask("listparticipants", room=self.name(room))
        except SfuRefused as refusal:
            if refusal.code == NO_SUCH_ROOM:
                return {}
            raise
        return {peer["id"]: peer["publisher"] for peer in listed["data"]["participants"]}

    async def remove(self, room: SfuRoom, peer_id: str, claim: Claim | None) -> None:
        """With its session all that the peer has ends; a kick would let it go on receiving."""
        if claim is not None:
            self.connection.send({"janus": "destroy", "session_id": claim["session"]})
        try:
            await self._ask("kick", room=self.name(room), secret=self.secret(room), id=peer_id)
        except SfuRefused as refusal:
            if refusal.code not in {NO_SUCH_ROOM, NO_SUCH_FEED}:
                raise

    def legs(self, room: SfuRoom, peer_id: str, listener: Listener) -> Transports:
        return JanusTransports(self, room, peer_id, listener)

    async def close(self) -> None:
        """End what is this process's own. The sessions of peers stay, to be claimed elsewhere."""
        if self._own is not None:
            self._own.session.destroy()
            self._own = None
        await self.connection.close()

    async def _ask(self, request: str, **body: Any) -> Message:
        """Ask on a handle of this process's own."""
        async with self._owning:
            own = self._own or await self._attach()
        try:
            return await own.ask(request, **body)
        except SfuRefused:
            if own is self._own:
                raise
        return await self._ask(request, **body)  # its session had ended, and there is another

    async def _attach(self) -> Handle:
        session = await JanusSession.create(self.connection, lost=self._own_was_lost)
        try:
            self._own = await session.attach(_ignore)
        except BaseException:
            session.destroy()
            raise
        return self._own

    def _own_was_lost(self, session: JanusSession) -> None:
        self._own = None


def _ignore(handle: Handle, message: Message) -> None:
    """This process's own handle is in no room."""
