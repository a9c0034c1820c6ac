"""A proxy between the workers and PostgreSQL that can cut a connection after a COMMIT."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.integration.stores import PostgreSQL

SOCKET = ".s.PGSQL.5432"
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""CommandComplete of a COMMIT (PostgreSQL, "Message Formats")."""


class CommitCutter:
    """Listens on a Unix socket and forwards to PostgreSQL.

    ``cut_next`` makes it end a connection when a transaction has been committed, and the worker
    waits for the answer.
    """

    def __init__(self, postgresql: PostgreSQL) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="signalling-proxy-"))
        self.cuts = 0
        """How many connections have been cut."""
        self._to_cut = 0
        self._target = str(postgresql.folder / SOCKET)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, database: str) -> str:
        return f"postgres:///{self.folder}/{database}?user=postgres"

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.folder / SOCKET)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self.folder)

    def cut_next(self, count: int) -> None:
        """Cut the connections of the next ``count`` commits."""
        self._to_cut = count

    @property
    def is_armed(self) -> bool:
        return self._to_cut > 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError):
            try:
                far_reader, far_writer = await asyncio.open_unix_connection(self._target)
                try:
                    await self._forward(reader, writer, far_reader, far_writer)
                finally:
                    far_writer.close()
            finally:
                writer.close()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        directions = [
            asyncio.create_task(self._copy(reader, far_writer, is_answer=False)),
            asyncio.create_task(self._copy(far_reader, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while data := await source.read(65536):
            if is_answer and self._to_cut and COMMITTED in data:
                self._to_cut -= 1
                self.cuts += 1
                return
            sink.write(data)
            await sink.drain()
