"""The access token of a client, renewed for each connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from signalling.protocol import CloseCode

from .connection import Connection, ConnectionLost, RequestRefused
from .events import ClientClosed

logger = logging.getLogger("signalling.client")

Token = str | Callable[[], Awaitable[str]]


class TokenSource:
    """Returns a token for each attempt, and never one that the server has refused."""

    def __init__(self, token: Token | None) -> None:
        self._token = token
        self._used: str | None = None
        self._refused: str | None = None

    @property
    def is_renewable(self) -> bool:
        """Whether the next ``get`` may return another token."""
        return callable(self._token)

    async def get(self) -> str | None:
        """Return the token for the next attempt.

        Raises ``ClientClosed`` for one that was refused. A function that has worked before and fails
        now raises ``OSError``: most likely its server cannot be reached either.
        """
        try:
            self._used = await self._next()
        except (ClientClosed, OSError):
            raise
        except Exception as error:
            if self._used is None:
                raise
            logger.warning("Could not get another token: %r", error)
            raise OSError("the token function has failed") from error
        return self._used

    def refused(self) -> None:
        """Remember that the server closed the connection with 4401 for the last token."""
        self._refused = self._used

    def renew(self, connection: Connection) -> None:
        """Start to present another token on an open connection, whose token expires soon.

        If that fails, the server closes the connection, and the client connects with another token.
        """
        is_running = connection.renewal is not None and not connection.renewal.done()
        if self.is_renewable and not is_running:
            connection.renewal = asyncio.create_task(self._renew(connection))

    async def _renew(self, connection: Connection) -> None:
        try:
            token = await self._next()
            await connection.request("authenticate", {"token": token})
        except ConnectionLost:
            pass
        except (ClientClosed, RequestRefused) as error:
            logger.info("The server has refused another token: %s", error)
        except Exception as error:  # of the site's function
            logger.warning("Could not get another token: %r", error)
        else:
            self._used = token  # only now: a 4401 before is for the former one

    async def _next(self) -> str | None:
        token = await self._token() if callable(self._token) else self._token
        if token is not None and token == self._refused:
            raise ClientClosed(CloseCode.AUTHENTICATION, "the server has refused this token")
        return token
