"""LiveKit (https://docs.livekit.io/home/self-hosting/), through ``livekit-api``.

    SIGNALLING = {
        "SFU": {
            "BACKEND": "signalling.sfu.livekit.LiveKitSfu",
            "URL": "wss://livekit.example.org",  # where clients reach it
            "API_URL": "http://10.0.0.5:7880",  # where this server does; else it is made of URL
            "API_KEY": "…",
            "API_SECRET": "…",
            "TOKEN_SECONDS": 600,  # in which a client must have connected; at most 600
            "CLIENT": "vendor/livekit-client.esm.mjs",  # a static file, or a URL
            "ROOM_PREFIX": "",  # one of its own for each site that shares the LiveKit
        }
    }

Clients speak to LiveKit by themselves. Each is given a token for one room, under the id of its peer.
Open source LiveKit does not revoke tokens, and renews those of whoever is connected: one who was removed
may come again, and is removed again by the upkeep. ``room: {auto_create: false}`` in LiveKit's own
configuration has tokens be of no use for a room that is over.
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

from signalling.sfu.base import Claim, Sfu, SfuError, SfuRefused, SfuRoom, SfuUnavailableError

from . import options as livekit_options

logger = logging.getLogger("signalling")

T = TypeVar("T")

PROBE_SECONDS = 2.0
REQUEST_SECONDS = 3.0  # below 5 s the client asks once, and no other region of LiveKit's cloud
EMPTY_SECONDS = 300  # for which a room waits for its first client
DEPARTURE_SECONDS = 60  # and after its last: longer than peers may be away
SALT = "signalling.sfu.livekit"


class Mark(msgspec.Struct):
    """What the metadata of a room of ours say: several sites may share a LiveKit."""

    site: str
    version: int


class LiveKitSfu(Sfu):
    """See the module."""

    provider = "livekit"
    is_watched = True

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, options)
        self._api: api.LiveKitAPI | None = None
        self._site = salted_hmac(SALT, alias, algorithm="sha1").hexdigest()[:8]

    @classmethod
    def check(cls, alias: str, options: dict[str, Any]) -> list[CheckMessage]:
        return livekit_options.check(alias, options)

    # --- The way ------------------------------------------------------------------------------

    def route(self, room: SfuRoom, peer_id: str) -> dict[str, Any]:
        way = {"url": self.options["URL"], "token": self.token(room, peer_id)}
        if self._client:
            way["client"] = self._client
        return super().route(room, peer_id) | way

    def token(self, room: SfuRoom, peer_id: str) -> str:
        """Return what lets a peer into its room; what it may not do there is said as well."""
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
        """Where livekit-client is; without it a client needs its own."""
        given: str = self.options.get("CLIENT", "")
        if not given or livekit_options.is_url(given):
            return given
        try:
            return static(given)
        except (
            ValueError
        ) as error:  # a manifest without it: calls go on, for clients with their own
            logger.error("the CLIENT of the SFU %r is no static file: %s", self.alias, error)
            return ""

    # --- Rooms --------------------------------------------------------------------------------

    def name(self, room: SfuRoom) -> str:
        prefix: str = self.options.get("ROOM_PREFIX", "")
        return prefix + room.id

    async def probe(self) -> None:
        """A list of nothing: it needs LiveKit, its store, and our key."""
        request = api.ListRoomsRequest(names=["-"])
        await self._ask(self._service.list_rooms(request), seconds=PROBE_SECONDS)

    async def open_room(self, room: SfuRoom) -> None:
        """Have the room, and have it be ours; LiveKit leaves one that is there as it is."""
        mark = Mark(self._site, room.version)
        created = await self._ask(
            self._service.create_room(
                api.CreateRoomRequest(
                    name=self.name(room),
                    empty_timeout=EMPTY_SECONDS,
                    departure_timeout=DEPARTURE_SECONDS,
                    max_participants=room.total,
                    metadata=_encode(mark),
                )
            )
        )
        there = _decode(created.metadata)
        if there is not None and there.site != self._site:
            raise SfuRefused("taken", f"the room {created.name} is of another site: ROOM_PREFIX")
        if there is None or there.version < room.version:
            await self._mark(created.name, mark)

    async def close_room(self, room: SfuRoom) -> None:
        """Delete the room, unless a later version of it has been opened in its place."""
        if room in await self._list(self.name(room)):
            request = api.DeleteRoomRequest(room=self.name(room))
            with _may_be_missing():
                await self._ask(self._service.delete_room(request))

    async def rooms(self) -> set[SfuRoom]:
        return await self._list()

    async def peers(self, room: SfuRoom) -> set[str]:
        """Return who is a client; recorders and agents were let in by who runs LiveKit."""
        request = api.ListParticipantsRequest(room=self.name(room))
        with _may_be_missing():
            listed = await self._ask(self._service.list_participants(request))
            return {
                participant.identity
                for participant in listed.participants
                if participant.kind == api.ParticipantInfo.STANDARD
                and participant.state != api.ParticipantInfo.DISCONNECTED
            }
        return set()

    async def remove(self, room: SfuRoom, peer_id: str, claim: Claim | None) -> None:
        request = api.RoomParticipantIdentity(room=self.name(room), identity=peer_id)
        with _may_be_missing():
            await self._ask(self._service.remove_participant(request))

    async def close(self) -> None:
        service, self._api = self._api, None
        if service is not None:
            await service.aclose()

    async def _mark(self, name: str, mark: Mark) -> None:
        request = api.UpdateRoomMetadataRequest(room=name, metadata=_encode(mark))
        await self._ask(self._service.update_room_metadata(request))

    async def _list(self, *names: str) -> set[SfuRoom]:
        """Return the rooms of this site; of these names alone, if there are any."""
        listed = await self._ask(self._service.list_rooms(api.ListRoomsRequest(names=names)))
        prefix: str = self.options.get("ROOM_PREFIX", "")
        marked = ((room.name, _decode(room.metadata)) for room in listed.rooms)
        return {
            SfuRoom(name.removeprefix(prefix), mark.version)
            for name, mark in marked
            if mark is not None and mark.site == self._site
        }

    # --- Requests -----------------------------------------------------------------------------

    @property
    def _service(self) -> RoomService:
        if self._api is None:
            self._api = api.LiveKitAPI(
                livekit_options.api_url(self.options),
                self.options["API_KEY"],
                self.options["API_SECRET"],
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            )
        return self._api.room

    async def _ask(self, call: Coroutine[Any, Any, T], *, seconds: float = REQUEST_SECONDS) -> T:
        """Await a call of LiveKit's API. Raises ``SfuUnavailableError`` and ``SfuRefused``."""
        try:
            async with asyncio.timeout(seconds):
                return await call
        except api.TwirpError as error:
            raise _failure(error) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SfuUnavailableError(f"LiveKit does not answer: {error!r}") from error


def _failure(error: api.TwirpError) -> SfuError:
    """Say what LiveKit has against a request, or a proxy before it, whose codes are those of HTTP."""
    if error.status >= 500:
        return SfuUnavailableError(f"LiveKit cannot answer: {error}")
    if error.code == api.TwirpErrorCode.UNKNOWN:
        return SfuRefused(error.status, error.message or "LiveKit, or a proxy, says no")
    return SfuRefused(error.code, error.message)


def _encode(mark: Mark) -> str:
    return msgspec.json.encode(mark).decode()


def _decode(metadata: str) -> Mark | None:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(metadata, type=Mark)
    return None


@contextmanager
def _may_be_missing() -> Iterator[None]:
    """What is asked for may be gone already."""
    try:
        yield
    except SfuRefused as refusal:
        if refusal.code != api.TwirpErrorCode.NOT_FOUND:
            raise
