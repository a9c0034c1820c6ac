"""Requests to the VideoRoom plugin about rooms, on a session and a handle of this process."""

from __future__ import annotations

import asyncio
from typing import Any

from django.utils.crypto import salted_hmac

from signalling.sfu.base import SfuRequestFailed, SfuRoom

from .connection import Connection, Message
from .session import Handle, JanusSession

SALT = "signalling.sfu.janus"
DESCRIPTION = "django-signalling"

# Error codes of the plugin: JANUS_VIDEOROOM_ERROR_…
NO_SUCH_ROOM = 426
ROOM_EXISTS = 427
NO_SUCH_FEED = 428


class VideoRoom:
    """The rooms of this site in one Janus. All requests raise ``SfuError``."""

    def __init__(self, connection: Connection, options: dict[str, Any]) -> None:
        self.connection = connection
        self.prefix = salted_hmac(SALT, "rooms", algorithm="sha1").hexdigest()[:8]
        """Marks the rooms of this site: several sites may share a Janus."""
        self.handle: Handle | None = None
        """The handle of this process, attached when it is first needed."""
        self._attaching = asyncio.Lock()
        self._admin_key = options.get("ADMIN_KEY", "")
        self._bitrate = 1000 * options.get("BITRATE", 1000)
        self._video_codecs = options.get("VIDEO_CODECS", "vp8")

    def name(self, room: SfuRoom) -> str:
        return f"{self.prefix}.{room.id}.{room.version}"

    def secret(self, room: SfuRoom) -> str:
        """Return the secret for moderating the room. All workers of the site compute the same one."""
        return salted_hmac(SALT, self.name(room), algorithm="sha1").hexdigest()

    async def probe(self) -> None:
        """Check that the plugin responds. The core of Janus may respond while the plugin hangs."""
        await self.request("exists", room="")

    async def create(self, room: SfuRoom) -> None:
        """Create a room unless it exists."""
        try:
            await self.request(
                "create",
                room=self.name(room),
                description=DESCRIPTION,
                secret=self.secret(room),
                is_private=True,
                admin_key=self._admin_key,
                publishers=room.total,
                notify_joining=True,
                bitrate=self._bitrate,
                videocodec=self._video_codecs,
                fir_freq=10,
            )
        except SfuRequestFailed as error:
            if error.code != ROOM_EXISTS:
                raise

    async def destroy(self, room: SfuRoom) -> None:
        """Destroy a room if it exists."""
        try:
            await self.request("destroy", room=self.name(room), secret=self.secret(room))
        except SfuRequestFailed as error:
            if error.code != NO_SUCH_ROOM:
                raise

    async def list_rooms(self) -> set[SfuRoom]:
        """Return the rooms of this site."""
        listed = await self.request("list", admin_key=self._admin_key)
        names = (str(found["room"]).split(".") for found in listed["data"]["list"])
        return {
            SfuRoom(name[1], int(name[2]))
            for name in names
            if name[0] == self.prefix and len(name) == 3
        }

    async def list_participants(self, room: SfuRoom) -> dict[str, bool]:
        """Return whether each participant of a room publishes, by peer id.

        Janus counts a participant as a publisher once its connection is up (ICE and DTLS).
        """
        try:
            listed = await self.request("listparticipants", room=self.name(room))
        except SfuRequestFailed as error:
            if error.code == NO_SUCH_ROOM:
                return {}
            raise
        return {peer["id"]: peer["publisher"] for peer in listed["data"]["participants"]}

    async def kick(self, room: SfuRoom, peer_id: str) -> None:
        """Remove a participant from a room if it is there."""
        try:
            await self.request("kick", room=self.name(room), secret=self.secret(room), id=peer_id)
        except SfuRequestFailed as error:
            if error.code not in {NO_SUCH_ROOM, NO_SUCH_FEED}:
                raise

    async def request(self, request: str, **body: Any) -> Message:
        """Send a request on the handle of this process and return the response."""
        async with self._attaching:
            handle = self.handle or await self._attach()
        try:
            return await handle.request(request, **body)
        except SfuRequestFailed:
            if handle is self.handle:
                raise
        return await self.request(request, **body)  # the session was lost: use a new one

    def close(self) -> None:
        """End the session of this process."""
        if self.handle is not None:
            self.handle.session.destroy()
            self.handle = None

    async def _attach(self) -> Handle:
        session = await JanusSession.create(self.connection, on_lost=self._on_lost)
        try:
            self.handle = await session.attach(_ignore)
        except BaseException:
            session.destroy()
            raise
        return self.handle

    def _on_lost(self, session: JanusSession) -> None:
        self.handle = None


def _ignore(handle: Handle, message: Message) -> None:
    """Ignore events: the handle of this process is in no room."""
