"""Crowds of fake peers with real media, and what they see of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from signalling.crowd.peer import CrowdPeer
from signalling.crowd.watching import Path
from tests.integration.servers import Site
from tests.integration.traffic import becomes

FPS = 3.0
"""Enough to see that somebody moves, and little enough for two cores and a whole mesh."""


class Crowd:
    """Those who come into one room, one after the other; with the crowd all of them go."""

    def __init__(self, site: Site, code: str) -> None:
        self.site = site
        self.code = code
        self.people: list[CrowdPeer] = []

    async def __aenter__(self) -> Crowd:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(peer.close() for peer in self.people))

    async def comes(self, *, audio: bool = False, workers: Iterable[int] = (0,)) -> CrowdPeer:
        """Have one more join. Raises ``Refused``."""
        urls = [self.site.workers[worker].url for worker in workers]
        options: dict[str, Any] = {"token": self.site.token("alice"), "proxy": None}
        number = len(self.people) + 1
        peer = CrowdPeer(urls, self.code, number=number, fps=FPS, audio=audio, **options)
        await peer.join()
        self.people.append(peer)
        return peer

    async def come(self, count: int, *, audio: int = 0, workers: Iterable[int] = (0,)) -> None:
        """Have so many more join, one by one; the first ``audio`` of them can be heard."""
        for index in range(count):
            await self.comes(audio=index < audio, workers=workers)

    async def leaves(self, peer: CrowdPeer) -> None:
        self.people.remove(peer)
        await peer.close()

    async def sees_all(self, path: Path, *, within: float = 20.0) -> None:
        """Wait until everybody shows everybody by this path, and a new picture of each has come."""
        await self._becomes(lambda: self._shows_all(path), f"all by the {path}", within)
        await self.moves(path, within=within)

    async def moves(self, path: Path, *, within: float = 10.0) -> None:
        """Wait until everybody gets one more picture of everybody by this path."""
        before = {pair: pair[0].frames(pair[1], path) for pair in self._pairs()}

        def moved() -> bool:
            return all(peer.frames(of, path) > count for (peer, of), count in before.items())

        await self._becomes(moved, f"new pictures by the {path}", within)

    async def _becomes(self, check: Callable[[], bool], what: str, within: float) -> None:
        try:
            await becomes(check, what, within=within)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self}") from None

    def _shows_all(self, path: Path) -> bool:
        ids = {peer.peer_id for peer in self.people}
        return all(
            peer.paths() == dict.fromkeys(ids - {peer.peer_id}, path) for peer in self.people
        )

    def _pairs(self) -> list[tuple[CrowdPeer, str]]:
        people = self.people
        return [(peer, of.peer_id) for peer in people for of in people if of is not peer]

    def __str__(self) -> str:
        return "\n".join(
            f"{peer} {sorted(map(str, peer.paths().values()))} {peer.errors}"
            for peer in self.people
        )
