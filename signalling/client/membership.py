"""A client's membership in a room across connections: join, resume, or join again."""

from __future__ import annotations

from signalling.protocol import ErrorCode

from .backoff import Backoff
from .connection import Connection, Data, RequestRefused

RESUME_FAILED_CODES = frozenset({ErrorCode.RESUME_EXPIRED, ErrorCode.RESUME_INVALID})
"""Errors after which the client joins again as a new peer."""
RETRY_CODES = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED})
"""Errors after which the same request is repeated, ``retryAfter`` seconds later at the earliest."""


class Membership:
    """The membership of one client. Kept while the client reconnects."""

    def __init__(self, backoff: Backoff) -> None:
        self.room: Data | None = None
        """The data of the last ``room:joined``, ``None`` outside a room."""
        self.resumes = 0
        """The number of times that the client has resumed as the same peer."""
        self._backoff = backoff
        self._resume_token: str | None = None

    async def join(self, connection: Connection, room_code: str) -> Data:
        """Join a room and return ``room:joined``.

        Raises ``RequestRefused`` and ``ConnectionLost``.
        """
        return await self._join(connection, room_code, None)

    async def rejoin(self, connection: Connection) -> None:
        """Resume, or join again as a new peer if that is refused. Does nothing outside a room.

        Raises ``RequestRefused`` and ``ConnectionLost``.
        """
        if self.room is not None:
            room_code = self.room["roomId"].removeprefix("room_")
            await self._join(connection, room_code, self._resume_token)

    def update(self, room: Data) -> bool:
        """Store a ``room:joined`` and return whether it follows a rejoin."""
        is_first = self.room is None
        self.room = room
        self.resumes += room.get("resumed", False)
        self._resume_token = room.get("resumeToken")
        return not is_first

    def clear(self) -> None:
        """Forget the room: the client leaves it."""
        self.room = self._resume_token = None

    async def _join(self, connection: Connection, room_code: str, resume_token: str | None) -> Data:
        while True:
            resume = {} if resume_token is None else {"resumeToken": resume_token}
            join = {"roomCode": room_code, "resumable": True, **resume}
            try:
                return await connection.request("join:room", join)
            except RequestRefused as error:
                if resume_token is not None and error.code in RESUME_FAILED_CODES:
                    resume_token = None
                elif error.code in RETRY_CODES:
                    await self._backoff.wait(error.details.get("retryAfter", 0.0))
                else:
                    raise
