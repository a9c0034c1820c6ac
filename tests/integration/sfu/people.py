"""Crowds of fake peers with real media, and what they see of each other."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol

from fake_peers.peer import FakePeer
from fake_peers.stats import Path
from tests.integration.processes import ROOT, Process
from tests.integration.servers import Site
from tests.integration.traffic import wait_until

FPS = 3.0
"""Enough to see that somebody moves, and little enough for two cores and a whole mesh."""


TICK = 0.01


class Stalls:
    """How long this process, with all who are in it, was kept waiting for a processor at the worst."""

    worst = 0.0

    async def __aenter__(self) -> Stalls:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._watching.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(TICK)
            self.worst = max(self.worst, 1000 * (loop.time() - before - TICK))


class Person(Protocol):
    """Who can be asked what it sees: a ``FakePeer`` of this process, or the report of another one's."""

    @property
    def peer_id(self) -> str: ...

    @property
    def mesh(self) -> set[str]: ...

    @property
    def errors(self) -> list[dict[str, Any]]: ...

    def paths(self) -> Mapping[str, Path | None]: ...

    def frames(self, of: str, path: Path) -> int: ...


class Reported:
    """What a peer of a herd said last."""

    def __init__(self, report: dict[str, Any]) -> None:
        self._report = report

    def __repr__(self) -> str:
        return f"<Reported {self._report['number']} {self.peer_id}>"

    @property
    def peer_id(self) -> str:
        return str(self._report["peerId"])

    @property
    def mesh(self) -> set[str]:
        return set(self._report["mesh"])

    @property
    def errors(self) -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = self._report["errors"]
        return errors

    def paths(self) -> Mapping[str, Path | None]:
        paths: dict[str, Path | None] = self._report["paths"]
        return paths

    def frames(self, of: str, path: Path) -> int:
        return int(self._report["frames"][path].get(of, 0))


class Herd(Process):
    """Peers in a process of their own, ``python -m fake_peers``: what they do stalls nobody here."""

    def __init__(self, site: Site, code: str, count: int) -> None:
        super().__init__("crowd", site.folder / f"crowd-{code}.log")
        self._last: dict[str, Reported] = {}
        command = [sys.executable, "-m", "fake_peers", "--json", "--fps", str(FPS)]
        command += ["--url", site.worker.http_url, "--token", site.token("alice")]
        self.spawn([*command, "--room", code, "-n", str(count)], cwd=ROOT)

    def people(self) -> list[Reported]:
        whole, _, self._rest = (self._rest + self.new_output()).rpartition("\n")
        for line in whole.splitlines():
            if line.startswith("{"):
                report = Reported(json.loads(line))
                self._last[report.peer_id] = report
        return list(self._last.values())

    _rest = ""


class Crowd:
    """Those who come into one room, one after the other; with the crowd all of them go."""

    def __init__(self, site: Site, code: str) -> None:
        self.site = site
        self.code = code
        self.people: list[FakePeer] = []
        self.herds: list[Herd] = []

    async def __aenter__(self) -> Crowd:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for herd in self.herds:
            await asyncio.to_thread(herd.stop)
        await asyncio.gather(*(peer.close() for peer in self.people))

    async def comes(
        self, *, audio: bool = False, workers: Iterable[int] = (0,), **options: Any
    ) -> FakePeer:
        """Have one more join, who comes back to these workers in turn. Raises ``RequestRefused``."""
        urls = [self.site.workers[worker].url for worker in workers]
        options = {"token": self.site.token("alice"), "proxy": None, **options}
        number = len(self.people) + 1
        peer = FakePeer(urls, self.code, number=number, fps=FPS, audio=audio, **options)
        await peer.join()
        self.people.append(peer)
        return peer

    async def come(self, count: int, *, audio: int = 0) -> list[FakePeer]:
        """Have so many more join, one by one; the first ``audio`` of them can be heard."""
        return [await self.comes(audio=index < audio) for index in range(count)]

    async def brings(self, count: int) -> None:
        """Have so many more join, in a process of their own."""
        herd = Herd(self.site, self.code, count)
        self.herds.append(herd)
        await wait_until(lambda: len(herd.people()) == count, "the herd", within=30)

    async def leave(self, peer: FakePeer) -> None:
        self.people.remove(peer)
        await peer.close()

    def everybody(self) -> list[Person]:
        herds = [person for herd in self.herds for person in herd.people()]
        return [*self.people, *herds]

    async def receive_all(self, path: Path, *, within: float = 20.0) -> None:
        """Wait until everybody shows everybody by this path, and a new picture of each has come."""
        await self._becomes(lambda: self._shows_all(path), f"all by the {path}", within)
        await self.moves(path, within=within)

    async def moves(self, path: Path, *, within: float = 10.0) -> None:
        """Wait until everybody gets one more picture of everybody by this path."""
        before = self._counts(path)

        def on_claim_changed() -> bool:
            now = self._counts(path)
            return all(now.get(pair, 0) > count for pair, count in before.items())

        await self._becomes(on_claim_changed, f"new pictures by the {path}", within)

    async def _becomes(self, check: Callable[[], bool], what: str, within: float) -> None:
        try:
            await wait_until(check, what, within=within)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self}") from None

    def _shows_all(self, path: Path) -> bool:
        everybody = self.everybody()
        ids = {person.peer_id for person in everybody}
        return all(
            person.paths() == dict.fromkeys(ids - {person.peer_id}, path) for person in everybody
        )

    def _counts(self, path: Path) -> dict[tuple[str, str], int]:
        everybody = self.everybody()
        return {
            (person.peer_id, of.peer_id): person.frames(of.peer_id, path)
            for person in everybody
            for of in everybody
            if of.peer_id != person.peer_id
        }

    def __str__(self) -> str:
        return "\n".join(
            f"{person} {sorted(map(str, person.paths().values()))} {person.errors}"
            for person in self.everybody()
        )
