"""Calls of fake peers with real media, and what each peer receives from the others."""

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
"""Enough to detect that frames arrive, and few enough for a full mesh on two cores."""

TICK = 0.01


class EventLoopDelay:
    """Measures how long the event loop of this process had to wait for the CPU, at most, in ms."""

    worst = 0.0

    async def __aenter__(self) -> EventLoopDelay:
        self._measuring = asyncio.create_task(self._measure())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._measuring.cancel()

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(TICK)
            self.worst = max(self.worst, 1000 * (loop.time() - before - TICK))


class PeerState(Protocol):
    """The state of a peer: a ``FakePeer``, or the last report of one in another process."""

    @property
    def peer_id(self) -> str: ...

    @property
    def mesh_peers(self) -> set[str]: ...

    @property
    def errors(self) -> list[dict[str, Any]]: ...

    def paths(self) -> Mapping[str, Path | None]: ...

    def frames(self, peer_id: str, path: Path) -> int: ...


class ReportedState:
    """A report of ``python -m fake_peers --json``."""

    def __init__(self, report: dict[str, Any]) -> None:
        self._report = report

    def __repr__(self) -> str:
        return f"<ReportedState {self._report['number']} {self.peer_id}>"

    @property
    def peer_id(self) -> str:
        return str(self._report["peerId"])

    @property
    def mesh_peers(self) -> set[str]:
        return set(self._report["mesh"])

    @property
    def errors(self) -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = self._report["errors"]
        return errors

    def paths(self) -> Mapping[str, Path | None]:
        paths: dict[str, Path | None] = self._report["paths"]
        return paths

    def frames(self, peer_id: str, path: Path) -> int:
        return int(self._report["frames"][path].get(peer_id, 0))


class FakePeersProcess(Process):
    """``python -m fake_peers``: peers whose work does not delay this process."""

    _partial_line = ""

    def __init__(self, site: Site, code: str, count: int) -> None:
        super().__init__("fake-peers", site.folder / f"fake-peers-{code}.log")
        self._last: dict[str, ReportedState] = {}
        command = [sys.executable, "-m", "fake_peers", "--json", "--fps", str(FPS)]
        command += ["--url", site.worker.http_url, "--token", site.token("alice")]
        self.spawn([*command, "--room", code, "-n", str(count)], cwd=ROOT)

    def peers(self) -> list[ReportedState]:
        """Return the last report of each peer."""
        lines, _, self._partial_line = (self._partial_line + self.new_output()).rpartition("\n")
        for line in lines.splitlines():
            if line.startswith("{"):
                report = ReportedState(json.loads(line))
                self._last[report.peer_id] = report
        return list(self._last.values())


class Call:
    """The fake peers of one room. They leave when the context ends."""

    def __init__(self, site: Site, code: str) -> None:
        self.site = site
        self.code = code
        self.peers: list[FakePeer] = []
        """The peers in this process."""
        self.processes: list[FakePeersProcess] = []

    async def __aenter__(self) -> Call:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self.processes:
            await asyncio.to_thread(process.stop)
        await asyncio.gather(*(peer.close() for peer in self.peers))

    async def join(
        self, *, audio: bool = False, workers: Iterable[int] = (0,), **options: Any
    ) -> FakePeer:
        """Join one peer. After a loss it reconnects to ``workers`` in turn.

        Raises ``RequestRefused``.
        """
        urls = [self.site.workers[worker].url for worker in workers]
        options = {"token": self.site.token("alice"), "proxy": None, **options}
        number = len(self.peers) + 1
        peer = FakePeer(urls, self.code, number=number, fps=FPS, audio=audio, **options)
        await peer.join()
        self.peers.append(peer)
        return peer

    async def join_many(self, count: int, *, audio: int = 0) -> list[FakePeer]:
        """Join several peers, one after the other. The first ``audio`` of them send audio."""
        return [await self.join(audio=index < audio) for index in range(count)]

    async def join_from_another_process(self, count: int) -> None:
        process = FakePeersProcess(self.site, self.code, count)
        self.processes.append(process)
        await wait_until(lambda: len(process.peers()) == count, "the peers' reports", within=30)

    async def leave(self, peer: FakePeer) -> None:
        self.peers.remove(peer)
        await peer.close()

    def all_peers(self) -> list[PeerState]:
        reported = [peer for process in self.processes for peer in process.peers()]
        return [*self.peers, *reported]

    async def wait_until_all_displayed(self, path: Path, *, within: float = 20.0) -> None:
        """Wait until every peer displays every other one on a path, with new frames from each."""
        await self._wait_until(lambda: self._displays_all(path), f"all on the {path}", within)
        await self.wait_for_new_frames(path, within=within)

    async def wait_for_new_frames(self, path: Path, *, within: float = 10.0) -> None:
        """Wait until every peer has received one more frame from every other one on a path."""
        before = self._frame_counts(path)

        def has_new_frames() -> bool:
            now = self._frame_counts(path)
            return all(now.get(pair, 0) > count for pair, count in before.items())

        await self._wait_until(has_new_frames, f"new frames on the {path}", within)

    async def _wait_until(self, check: Callable[[], bool], what: str, within: float) -> None:
        try:
            await wait_until(check, what, within=within)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self}") from None

    def _displays_all(self, path: Path) -> bool:
        peers = self.all_peers()
        ids = {peer.peer_id for peer in peers}
        return all(peer.paths() == dict.fromkeys(ids - {peer.peer_id}, path) for peer in peers)

    def _frame_counts(self, path: Path) -> dict[tuple[str, str], int]:
        peers = self.all_peers()
        return {
            (peer.peer_id, other.peer_id): peer.frames(other.peer_id, path)
            for peer in peers
            for other in peers
            if other.peer_id != peer.peer_id
        }

    def __str__(self) -> str:
        return "\n".join(
            f"{peer} {sorted(map(str, peer.paths().values()))} {peer.errors}"
            for peer in self.all_peers()
        )
