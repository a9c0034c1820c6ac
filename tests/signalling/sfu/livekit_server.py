"""A server for LiveKit's room service: Twirp over HTTP, with the messages of livekit-api.

It checks tokens and records requests. For rooms and participants it behaves like the source of
livekit-server 1.13. It carries no media; ``connect`` stands for a client that connects with a token.
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


class TwirpFailure(Exception):
    """An error response of Twirp."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = {"code": code, "msg": text}


NOT_FOUND = TwirpFailure(404, "not_found", "it does not exist")
NOT_ALLOWED = TwirpFailure(401, "unauthenticated", "permissions denied")


class LiveKitServer:
    """The server. ``requests`` lists the accepted requests, each with its method."""

    def __init__(self) -> None:
        self.verifier = api.TokenVerifier(KEY, SECRET)
        self.requests: list[tuple[str, Any]] = []
        self.rooms: dict[str, api.Room] = {}
        self.participants: dict[str, dict[str, api.ParticipantInfo]] = {}
        self.auto_create = True
        self.failures: dict[str, tuple[int, str]] = {}
        """The status and body of the error response to all requests of a method."""
        self.failed: list[str] = []
        """The methods of the requests that received such a response."""
        self._responds = asyncio.Event()
        self._responds.set()
        self._port = 0
        self._runner: web.AppRunner | None = None

    # --- Lifecycle -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start, or restart on the same port without any state."""
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
    def unresponsive(self) -> Iterator[None]:
        """Accept requests but do not respond to them."""
        self._responds.clear()
        try:
            yield
        finally:
            self._responds.set()

    # --- Clients --------------------------------------------------------------------------

    def connect(self, token: str) -> bool:
        """Connect a client. Return False if the room does not exist or is full."""
        claims = self.verifier.verify(token)
        assert claims.video is not None
        assert claims.video.room_join
        name = claims.video.room
        if name not in self.rooms and not self.auto_create:
            return False
        room = self.rooms.setdefault(name, api.Room(name=name))
        participants = self.participants.setdefault(name, {})
        if (
            room.max_participants
            and len(participants.keys() - {claims.identity}) >= room.max_participants
        ):
            return False
        participants[claims.identity] = api.ParticipantInfo(
            identity=claims.identity, state=api.ParticipantInfo.ACTIVE
        )
        return True

    def connected(self, name: str) -> set[str]:
        """Return the identities of the participants of a room."""
        return set(self.participants.get(name, ()))

    def requests_for(self, method: str) -> list[Any]:
        """Return the accepted requests of one method."""
        return [request for name, request in self.requests if name == method]

    # --- API ------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        await self._responds.wait()
        if method in self.failures:
            self.failed.append(method)
            status, text = self.failures[method]
            kind = "application/json" if text.startswith("{") else "text/plain"
            return web.Response(status=status, text=text, content_type=kind)
        try:
            claims = self.verifier.verify(request.headers["Authorization"].removeprefix("Bearer "))
        except Exception as error:
            return web.Response(status=401, text=f"invalid authorization token: {error}")
        assert request.content_type == "application/protobuf"
        message_type, is_allowed, handle = METHODS[method]
        message = message_type.FromString(await request.read())
        try:
            if not is_allowed(claims, message):
                raise NOT_ALLOWED
            self.requests.append((method, message))
            body = handle(self, message).SerializeToString()
        except TwirpFailure as error:
            return web.json_response(error.body, status=error.status)
        return web.Response(body=body, content_type="application/protobuf")

    def _create_room(self, request: api.CreateRoomRequest) -> api.Room:
        """Create a room. An existing room does not change."""
        if request.name not in self.rooms:
            self.rooms[request.name] = api.Room(
                name=request.name,
                metadata=request.metadata,
                max_participants=request.max_participants,
                empty_timeout=request.empty_timeout,
                departure_timeout=request.departure_timeout,
            )
        return self.rooms[request.name]

    def _list_rooms(self, request: api.ListRoomsRequest) -> api.ListRoomsResponse:
        names = request.names or self.rooms
        return api.ListRoomsResponse(
            rooms=[self.rooms[name] for name in names if name in self.rooms]
        )

    def _delete_room(self, request: api.DeleteRoomRequest) -> api.DeleteRoomResponse:
        if self.rooms.pop(request.room, None) is None:
            raise NOT_FOUND
        self.participants.pop(request.room, None)
        return api.DeleteRoomResponse()

    def _update_room_metadata(self, request: api.UpdateRoomMetadataRequest) -> api.Room:
        if request.room not in self.rooms:
            raise NOT_FOUND
        self.rooms[request.room].metadata = request.metadata
        return self.rooms[request.room]

    def _list_participants(
        self, request: api.ListParticipantsRequest
    ) -> api.ListParticipantsResponse:
        participants = self.participants.get(request.room, {})
        return api.ListParticipantsResponse(participants=participants.values())

    def _remove_participant(
        self, request: api.RoomParticipantIdentity
    ) -> api.RemoveParticipantResponse:
        if self.participants.get(request.room, {}).pop(request.identity, None) is None:
            raise NOT_FOUND
        return api.RemoveParticipantResponse()


def _may_create(claims: Claims, request: Any) -> bool:
    return bool(claims.video and claims.video.room_create)


def _may_list(claims: Claims, request: Any) -> bool:
    return bool(claims.video and claims.video.room_list)


def _may_moderate(claims: Claims, request: Any) -> bool:
    return bool(claims.video and claims.video.room_admin and claims.video.room == request.room)


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
