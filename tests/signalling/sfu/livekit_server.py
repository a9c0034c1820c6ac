"""LiveKit's room service on the wire: Twirp over HTTP, with LiveKit's own messages, checked and recorded.

A real server for a real client. It answers as livekit-server 1.13 does by its source, as far as rooms and
participants go; it carries no media, and ``connect`` stands for a client that comes with its token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from google.protobuf.message import Message
from livekit import api
from livekit.api.access_token import Claims

KEY, SECRET = "APItests", "tests-only-" + "l" * 40


class Refusal(Exception):
    """What Twirp says no with."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.answer = {"code": code, "msg": text}


NOT_FOUND = Refusal(404, "not_found", "it does not exist")
NOT_ALLOWED = Refusal(401, "unauthenticated", "permissions denied")


class LiveKitServer:
    """See the module. ``asked`` are the requests that were allowed, each with its method."""

    def __init__(self) -> None:
        self.verifier = api.TokenVerifier(KEY, SECRET)
        self.asked: list[tuple[str, Any]] = []
        self.rooms: dict[str, api.Room] = {}
        self.participants: dict[str, dict[str, api.ParticipantInfo]] = {}
        self.auto_create = True
        self.broken: dict[str, tuple[int, str]] = {}
        """The status and the body that answer a method, whatever was asked."""
        self.failed: list[str] = []
        """The methods that were answered so."""
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self._port = 0
        self._runner: web.AppRunner | None = None

    # --- Its life -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen; again where it did before, and without a memory."""
        self.rooms.clear()
        self.participants.clear()
        app = web.Application()
        app.router.add_post("/twirp/livekit.RoomService/{method}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Take requests, and answer none."""
        self.goes_on.clear()
        try:
            yield
        finally:
            self.goes_on.set()

    # --- Its clients --------------------------------------------------------------------------

    def connect(self, token: str) -> bool:
        """Let the client of a peer in, if its token and the room do."""
        claims = self.verifier.verify(token)
        assert claims.video is not None
        assert claims.video.room_join
        name = claims.video.room
        if name not in self.rooms and not self.auto_create:
            return False
        room = self.rooms.setdefault(name, api.Room(name=name))
        here = self.participants.setdefault(name, {})
        if room.max_participants and len(here.keys() - {claims.identity}) >= room.max_participants:
            return False
        here[claims.identity] = api.ParticipantInfo(
            identity=claims.identity, state=api.ParticipantInfo.ACTIVE
        )
        return True

    def present(self, name: str) -> set[str]:
        return set(self.participants.get(name, ()))

    def heard(self, method: str) -> list[Any]:
        """Return the requests of one method."""
        return [request for asked, request in self.asked if asked == method]

    # --- Its API ------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        await self.goes_on.wait()
        if method in self.broken:
            self.failed.append(method)
            status, said = self.broken[method]
            kind = "application/json" if said.startswith("{") else "text/plain"
            return web.Response(status=status, text=said, content_type=kind)
        try:
            claims = self.verifier.verify(request.headers["Authorization"].removeprefix("Bearer "))
        except Exception as error:
            return web.Response(status=401, text=f"invalid authorization token: {error}")
        assert request.content_type == "application/protobuf"
        message, may, answer = METHODS[method]
        asked = message.FromString(await request.read())
        try:
            if not may(claims, asked):
                raise NOT_ALLOWED
            self.asked.append((method, asked))
            body = answer(self, asked).SerializeToString()
        except Refusal as refusal:
            return web.json_response(refusal.answer, status=refusal.status)
        return web.Response(body=body, content_type="application/protobuf")

    def _create_room(self, asked: api.CreateRoomRequest) -> api.Room:
        """A room that is there stays as it is."""
        if asked.name not in self.rooms:
            self.rooms[asked.name] = api.Room(
                name=asked.name,
                metadata=asked.metadata,
                max_participants=asked.max_participants,
                empty_timeout=asked.empty_timeout,
                departure_timeout=asked.departure_timeout,
            )
        return self.rooms[asked.name]

    def _list_rooms(self, asked: api.ListRoomsRequest) -> api.ListRoomsResponse:
        names = asked.names or self.rooms
        return api.ListRoomsResponse(
            rooms=[self.rooms[name] for name in names if name in self.rooms]
        )

    def _delete_room(self, asked: api.DeleteRoomRequest) -> api.DeleteRoomResponse:
        if self.rooms.pop(asked.room, None) is None:
            raise NOT_FOUND
        self.participants.pop(asked.room, None)
        return api.DeleteRoomResponse()

    def _update_room_metadata(self, asked: api.UpdateRoomMetadataRequest) -> api.Room:
        if asked.room not in self.rooms:
            raise NOT_FOUND
        self.rooms[asked.room].metadata = asked.metadata
        return self.rooms[asked.room]

    def _list_participants(
        self, asked: api.ListParticipantsRequest
    ) -> api.ListParticipantsResponse:
        here = self.participants.get(asked.room, {})
        return api.ListParticipantsResponse(participants=here.values())

    def _remove_participant(
        self, asked: api.RoomParticipantIdentity
    ) -> api.RemoveParticipantResponse:
        if self.participants.get(asked.room, {}).pop(asked.identity, None) is None:
            raise NOT_FOUND
        return api.RemoveParticipantResponse()


def _may_create(claims: Claims, asked: Any) -> bool:
    return bool(claims.video and claims.video.room_create)


def _may_list(claims: Claims, asked: Any) -> bool:
    return bool(claims.video and claims.video.room_list)


def _may_moderate(claims: Claims, asked: Any) -> bool:
    return bool(claims.video and claims.video.room_admin and claims.video.room == asked.room)


Method = tuple[
    type[Message], Callable[[Claims, Any], bool], Callable[[LiveKitServer, Any], Message]
]
METHODS: dict[str, Method] = {
    "CreateRoom": (api.CreateRoomRequest, _may_create, LiveKitServer._create_room),
    "ListRooms": (api.ListRoomsRequest, _may_list, LiveKitServer._list_rooms),
    "DeleteRoom": (api.DeleteRoomRequest, _may_create, LiveKitServer._delete_room),
    "UpdateRoomMetadata": (
        api.UpdateRoomMetadataRequest,
        _may_moderate,
        LiveKitServer._update_room_metadata,
    ),
    "ListParticipants": (
        api.ListParticipantsRequest,
        _may_moderate,
        LiveKitServer._list_participants,
    ),
    "RemoveParticipant": (
        api.RoomParticipantIdentity,
        _may_moderate,
        LiveKitServer._remove_participant,
    ),
}
