"""The access token of a client, renewed for each connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from signalling.protocol import CloseCode

from .connection import Connection, ConnectionLost, RequestRefused
from .events import ClientClosed

Token = str | Callable[[], Awaitable[str]]


class TokenSource:
    """Returns a token for each attempt, and never one that the server has refused."""

    def __init__(self, token: Token | None) -> None:
        self._token = token
        self._used: str | None = None
        self._refused: str | None = None
        self._renewing: asyncio.Task[None] | None = None

    @property
    def is_renewable(self) -> bool:
        """Whether the next ``get`` may return another token."""
        return callable(self._token)

    async def get(self) -> str | None:
        """Return the token for the next attempt.

        Raises ``ClientClosed`` for one that was refused.
        """
        token = await self._token() if callable(self._token) else self._token
        if token is not None and token == self._refused:
            raise ClientClosed(CloseCode.AUTHENTICATION, "the server has refused this token")
        self._used = token
        return token

    def refused(self) -> None:
        """Remember that the server closed the connection with 4401 for the last token."""
        self._refused = self._used

    def renew(self, connection: Connection) -> None:
        """Start to present another token on an open connection, whose token expires soon.

        If that fails, the server closes the connection, and the client connects with another token.
        """
        if self.is_renewable:
            self._renewing = asyncio.create_task(self._renew(connection))

    async def _renew(self, connection: Connection) -> None:
        with suppress(OSError, ClientClosed, ConnectionLost, RequestRefused):
            await connection.request("authenticate", {"token": await self.get()})
