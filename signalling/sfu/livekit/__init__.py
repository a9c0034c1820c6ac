"""LiveKit (https://docs.livekit.io/home/self-hosting/), using ``livekit-api``.

::

    SIGNALLING = {
        "SFU": {
            "BACKEND": "signalling.sfu.livekit.LiveKitSfu",
            "URL": "wss://livekit.example.org",  # for clients
            "API_URL": "http://10.0.0.5:7880",  # for this server; default: derived from URL
            "API_KEY": "…",
            "API_SECRET": "…",
            "TOKEN_SECONDS": 600,  # how long a client may take to connect; at most 600
            "CLIENT": "vendor/livekit-client.esm.mjs",  # a static file or a URL
            "ROOM_PREFIX": "",  # must be unique for each site that shares the LiveKit server
        }
    }

Clients connect to LiveKit directly. Each client gets a token for one room; its identity is the peer
id.

Open-source LiveKit does not revoke tokens, and it refreshes the tokens of connected clients. A
removed client can therefore reconnect; the reconciler removes it again. With
``room: {auto_create: false}`` in LiveKit's configuration, a token is useless once its room is
closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import aiohttp
import msgspec
from django.core.checks import CheckMessage
from django.templatetags.static import static
from django.utils.crypto import salted_hmac
from livekit import api
from livekit.api.room_service import RoomService

from signalling.sfu.base import Claim, Sfu, SfuError, SfuRequestFailed, SfuRoom, SfuUnavailable

from . import options as livekit_options

logger = logging.getLogger("signalling")

T = TypeVar("T")

PROBE_TIMEOUT_SECONDS = 2.0
REQUEST_TIMEOUT_SECONDS = 3.0  # below 5 s, livekit-api does not fail over to another region
EMPTY_TIMEOUT_SECONDS = 300  # how long a new room waits for its first client
DEPARTURE_TIMEOUT_SECONDS = 60  # how long an empty room stays; longer than a peer may be away
SALT = "signalling.sfu.livekit"


class RoomMetadata(msgspec.Struct):
    """The metadata of a room. It marks the rooms of this site: several sites may share LiveKit."""

    site: str
    version: int


class LiveKitSfu(Sfu):
    """A backend for one LiveKit server. The module docstring describes its options."""

    provider = "livekit"
    needs_monitoring = True

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, options)
        self._api: api.LiveKitAPI | None = None
        self._site = salted_hmac(SALT, alias, algorithm="sha1").hexdigest()[:8]

    @classmethod
    def check(cls, alias: str, options: dict[str, Any]) -> list[CheckMessage]:
        return livekit_options.check(alias, options)

    # --- Clients ------------------------------------------------------------------------------

    def route(self, room: SfuRoom, peer_id: str) -> dict[str, Any]:
        livekit = {"url": self.options["URL"], "token": self.token(room, peer_id)}
        if self._client:
            livekit["client"] = self._client
        return super().route(room, peer_id) | livekit

    def token(self, room: SfuRoom, peer_id: str) -> str:
        """Return an access token (JWT) with which a peer may join its room, publish and subscribe.

        It grants nothing else: no data messages, no changes of metadata.
        """
        grants = api.VideoGrants(
            room_join=True,
            room=self.name(room),
            can_publish=True,
            can_subscribe=True,
            can_publish_data=False,
            can_update_own_metadata=False,
        )
        token = api.AccessToken(self.options["API_KEY"], self.options["API_SECRET"])
        seconds = self.options.get("TOKEN_SECONDS", livekit_options.MAX_TOKEN_SECONDS)
        token.with_identity(peer_id).with_grants(grants).with_ttl(timedelta(seconds=seconds))
        return token.to_jwt()

    @cached_property
    def _client(self) -> str:
        """The URL of livekit-client. If it is empty, the client must bring its own."""
        path: str = self.options.get("CLIENT", "")
        if not path or livekit_options.is_url(path):
            return path
        try:
            return static(path)
        except ValueError as error:  # not in the manifest; clients that bring their own still work
            logger.error("SFU %r: CLIENT is not a static file: %s", self.alias, error)
            return ""

    # --- Rooms --------------------------------------------------------------------------------

    def name(self, room: SfuRoom) -> str:
        prefix: str = self.options.get("ROOM_PREFIX", "")
        return prefix + room.id

    async def probe(self) -> None:
        """Request an empty list of rooms. It needs LiveKit, its store, and a valid API key."""
        request = api.ListRoomsRequest(names=["-"])
        await self._call(self._service.list_rooms(request), seconds=PROBE_TIMEOUT_SECONDS)

    async def open_room(self, room: SfuRoom) -> None:
        """Create a room, or mark an existing one as belonging to this site and version.

        LiveKit does not change a room that exists.
        """
        metadata = RoomMetadata(self._site, room.version)
        created = await self._call(
            self._service.create_room(
                api.CreateRoomRequest(
                    name=self.name(room),
                    empty_timeout=EMPTY_TIMEOUT_SECONDS,
                    departure_timeout=DEPARTURE_TIMEOUT_SECONDS,
                    max_participants=room.total,
                    metadata=_encode(metadata),
                )
            )
        )
        existing = _decode(created.metadata)
        if existing is not None and existing.site != self._site:
            raise SfuRequestFailed(
                "taken", f"room {created.name} belongs to another site; set ROOM_PREFIX"
            )
        if existing is None or existing.version < room.version:
            await self._update_metadata(created.name, metadata)

    async def close_room(self, room: SfuRoom) -> None:
        """Delete the room, unless a later version of it has replaced it."""
        if room in await self._list(self.name(room)):
            request = api.DeleteRoomRequest(room=self.name(room))
            with _ignore_not_found():
                await self._call(self._service.delete_room(request))

    async def rooms(self) -> set[SfuRoom]:
        return await self._list()

    async def peers(self, room: SfuRoom) -> set[str]:
        return {
            participant.identity
            for participant in await self._participants(room)
            if participant.state != api.ParticipantInfo.DISCONNECTED
        }

    async def carried(self, room: SfuRoom) -> set[str]:
        """Return the clients that are active: their media connection is up."""
        return {
            participant.identity
            for participant in await self._participants(room)
            if participant.state == api.ParticipantInfo.ACTIVE
        }

    async def _participants(self, room: SfuRoom) -> list[api.ParticipantInfo]:
        """Return the clients in a room. Recorders and agents are not peers of this site."""
        request = api.ListParticipantsRequest(room=self.name(room))
        with _ignore_not_found():
            response = await self._call(self._service.list_participants(request))
            return [
                participant
                for participant in response.participants
                if participant.kind == api.ParticipantInfo.STANDARD
            ]
        return []

    async def remove(self, room: SfuRoom, peer_id: str, claim: Claim | None) -> None:
        request = api.RoomParticipantIdentity(room=self.name(room), identity=peer_id)
        with _ignore_not_found():
            await self._call(self._service.remove_participant(request))

    async def close(self) -> None:
        service, self._api = self._api, None
        if service is not None:
            await service.aclose()

    async def _update_metadata(self, name: str, metadata: RoomMetadata) -> None:
        request = api.UpdateRoomMetadataRequest(room=name, metadata=_encode(metadata))
        await self._call(self._service.update_room_metadata(request))

    async def _list(self, *names: str) -> set[SfuRoom]:
        """Return the rooms of this site, or those with the given names."""
        response = await self._call(self._service.list_rooms(api.ListRoomsRequest(names=names)))
        prefix: str = self.options.get("ROOM_PREFIX", "")
        rooms = ((room.name, _decode(room.metadata)) for room in response.rooms)
        return {
            SfuRoom(name.removeprefix(prefix), metadata.version)
            for name, metadata in rooms
            if metadata is not None and metadata.site == self._site
        }

    # --- Requests -----------------------------------------------------------------------------

    @property
    def _service(self) -> RoomService:
        if self._api is None:
            self._api = api.LiveKitAPI(
                livekit_options.api_url(self.options),
                self.options["API_KEY"],
                self.options["API_SECRET"],
                timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
            )
        return self._api.room

    async def _call(
        self, call: Coroutine[Any, Any, T], *, seconds: float = REQUEST_TIMEOUT_SECONDS
    ) -> T:
        """Await an API call. Raises ``SfuUnavailable`` and ``SfuRequestFailed``."""
        try:
            async with asyncio.timeout(seconds):
                return await call
        except api.TwirpError as error:
            raise _sfu_error(error) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SfuUnavailable(f"LiveKit does not respond: {error!r}") from error


def _sfu_error(error: api.TwirpError) -> SfuError:
    """Convert an error response of LiveKit, or of a proxy in front of it (with an HTTP status)."""
    if error.status >= 500:
        return SfuUnavailable(f"LiveKit failed: {error}")
    if error.code == api.TwirpErrorCode.UNKNOWN:
        return SfuRequestFailed(error.status, error.message or "rejected by LiveKit or a proxy")
    return SfuRequestFailed(error.code, error.message)


def _encode(metadata: RoomMetadata) -> str:
    return msgspec.json.encode(metadata).decode()


def _decode(metadata: str) -> RoomMetadata | None:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(metadata, type=RoomMetadata)
    return None


@contextmanager
def _ignore_not_found() -> Iterator[None]:
    """Suppress the error for a room or a participant that does not exist."""
    try:
        yield
    except SfuRequestFailed as error:
        if error.code != api.TwirpErrorCode.NOT_FOUND:
            raise
