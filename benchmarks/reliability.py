"""Measures what faults cost: how long a ghost is seen, how soon a peer is back, what is lost.

    python -m benchmarks.reliability                  everything, 3 to 4 minutes
    python -m benchmarks.reliability ghost resume     these alone

  ghost    kill -9 of one of three processes: when those at the others are told of its peers
  resume   kill -9, then SIGTERM, of a process with 100 resumable peers: when they are back elsewhere
  rolling  three processes restarted one after the other under 200 relays a second: what is lost
  redis    Redis killed, and back after 10 s: sockets closed, relays refused
  stall    all tables locked for 3 s while peers join: what a relay takes longer
  freeze   client processes stopped (SIGSTOP): when the others are told

Real processes, PostgreSQL and Redis; all settings are the defaults, but that one user and one address
may do much. docs/reliability.md has the results.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks import report
from benchmarks.calls import Returner, Speaker, Watcher, until
from benchmarks.contenders import ONE_PROCESS, Server, Site
from benchmarks.processes import LOAD_CORE, BenchmarkError, Process, Stores, raise_file_limit
from signalling.client import ResumingClient

PROCESSES = 3
SEATS = 10  # in a room
GHOST_ROOMS = 5
RETURNERS = 100
PAIRS = 10
EVERY = 0.1  # seconds between two relays of a speaker: 200 a second
OUTAGE = 10.0
STALL = 3.0
LIMIT = 300  # seconds that a case may take

began = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)  # noqa: T201


@dataclass
class Figure:
    """One number, and the bar that it is held to."""

    name: str
    value: float
    unit: str = ""
    bar: float | None = None

    def row(self) -> list[str]:
        verdict = "" if self.bar is None else "met" if self.value <= self.bar else "NOT MET"
        bar = "" if self.bar is None else f"≤ {self.bar:g} {self.unit}".rstrip()
        number = f"{self.value:.2f}" if isinstance(self.value, float) else str(self.value)
        return [self.name, f"{number} {self.unit}".rstrip(), bar, verdict]


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Deployment:
    """Three processes of the server on one database and one Redis, and the clients that use them."""

    _rooms = itertools.count()

    def __init__(self, server: str, rounds: int, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reliability-")))
        self.rounds = rounds
        self.stores = Stores(folder, stack)
        site = Site(self.stores, {})
        self.server = Server(ONE_PROCESS[server], site, self.stores, PROCESSES, stack)

    def room(self) -> str:
        """Return the code of a room that nobody has used."""
        return f"BENCH-{next(self._rooms)}"

    def url(self, process: int) -> str:
        return f"ws://127.0.0.1:{self.server.ports[process % PROCESSES]}/ws/signalling/"

    @asynccontextmanager
    async def client(self, *processes: int, **options: Any) -> AsyncIterator[ResumingClient]:
        """Give a client that tries these processes in turn."""
        urls = [self.url(process) for process in processes]
        client = ResumingClient(urls, token=self.server.token, proxy=None, **options)
        async with client:
            yield client

    async def signal(self, process: int, number: signal.Signals) -> float:
        """Send a signal to a process; return when."""
        now = time.monotonic()
        self.server.processes[process].popen.send_signal(number)
        return now

    async def start_again(self, process: int) -> None:
        """Wait for the end of a process and start it again."""
        try:
            code = await asyncio.to_thread(self.server.processes[process].popen.wait, 30)
        except subprocess.TimeoutExpired:
            raise BenchmarkError("a process did not end within 30 s") from None
        if code not in (0, -signal.SIGKILL):
            tail = self.server.processes[process].log_tail()
            raise BenchmarkError(f"a process ended with {code}:\n{tail}")
        await asyncio.to_thread(self.server.start_again, process)

    async def speakers(
        self, stack: AsyncExitStack, places: Iterable[tuple[int, int]], **options: Any
    ) -> list[Speaker]:
        """Let pairs talk, each in a room of its own, its two peers at these processes."""
        speakers: list[Speaker] = []
        for place in places:
            room, pair = self.room(), []
            for process in place:
                turns = [process + turn for turn in range(PROCESSES)]
                client = await stack.enter_async_context(self.client(*turns, **options))
                await client.join(room)
                pair.append(Speaker(client))
            speakers += pair
        for number, speaker in enumerate(speakers):
            stack.push_async_callback(speaker.close)
            speaker.begin(speakers[number ^ 1], every=EVERY)
        return speakers


# --- The cases ------------------------------------------------------------------------------------------


async def ghost(deployment: Deployment) -> list[Figure]:
    left: list[float] = []
    away: list[float] = []
    for number in range(deployment.rounds):
        killed, *others = ((number + turn) % PROCESSES for turn in range(PROCESSES))
        async with AsyncExitStack() as stack:
            watchers: list[tuple[Watcher, str, str]] = []
            for _ in range(GHOST_ROOMS):
                room = deployment.room()
                watching = []
                for other in others:
                    client = await stack.enter_async_context(deployment.client(other))
                    await client.join(room)
                    watching.append(Watcher(client))
                    stack.push_async_callback(watching[-1].close)
                plain, resumable = [  # they try that process alone, so they are not back too early
                    await stack.enter_async_context(deployment.client(killed)) for _ in range(2)
                ]
                await plain.request("join:room", {"roomCode": room})
                await resumable.join(room)
                for watcher in watching:
                    for peer in (plain, resumable):
                        await watcher.is_told("peer:joined", peer.peer_id, within=5)
                    watchers.append((watcher, plain.peer_id, resumable.peer_id))
            # Anywhere between two renewals of its lease.
            await asyncio.sleep(3 * number / deployment.rounds)
            at = await deployment.signal(killed, signal.SIGKILL)
            for watcher, plain_id, resumable_id in watchers:
                left.append(await watcher.is_told("peer:left", plain_id, within=60) - at)
                away.append(await watcher.is_told("peer:away", resumable_id, within=60) - at)
            say(f"  told after {max(left[-len(watchers) :]):.1f} s at the latest")
            await deployment.start_again(killed)
    return [
        Figure("ghost after kill -9, the longest", max(left), "s", 15),
        Figure("the same, median", median(left), "s"),
        Figure(
            "a resumable peer is said to be away after kill -9, the longest", max(away), "s", 15
        ),
    ]


async def resume(deployment: Deployment) -> list[Figure]:
    figures = []
    for name, number in (("kill -9", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
        waits: list[float] = []
        others = 0
        for turn in range(deployment.rounds):
            async with AsyncExitStack() as stack:
                returners = await _returners(deployment, turn % PROCESSES, stack)
                at = await deployment.signal(turn % PROCESSES, number)
                await until(are_back(returners), f"the return of all after {name}", within=60)
                waits += [one.back_at - at for one in returners if one.back_at]
                others += sum(not one.is_itself for one in returners)
                say(f"  {name}: the last of {RETURNERS} is back after {max(waits):.1f} s")
                await deployment.start_again(turn % PROCESSES)
        figures += [
            Figure(f"resume on another worker after {name}, p50", median(waits), "s"),
            Figure(f"the same, p99 of {len(waits)}", percentile(waits, 0.99), "s", 3),
            Figure("the same, peers that came back as others", others, "", 0),
        ]
    return figures


def are_back(returners: list[Returner]) -> Callable[[], bool]:
    return lambda: all(returner.back_at is not None for returner in returners)


async def _returners(deployment: Deployment, process: int, stack: AsyncExitStack) -> list[Returner]:
    """Return resumable peers in full rooms, all at one process; half of them would go to each other one."""
    returners = []
    for number in range(RETURNERS):
        if number % SEATS == 0:
            room = deployment.room()
        next_one = 1 + number % 2
        turns = process, process + next_one, process - next_one
        client = await stack.enter_async_context(deployment.client(*turns))
        await client.join(room)
        returners.append(Returner(client))
        stack.push_async_callback(returners[-1].close)
    return returners


async def rolling(deployment: Deployment) -> list[Figure]:
    async with AsyncExitStack() as stack:
        places = [(number % PROCESSES, (number + 1) % PROCESSES) for number in range(PAIRS)]
        speakers = await deployment.speakers(stack, places)
        await asyncio.sleep(2)
        for process in range(PROCESSES):
            await deployment.signal(process, signal.SIGTERM)
            await deployment.start_again(process)
            await until(are_connected(speakers), "the return of all after a restart", within=30)
            await asyncio.sleep(2)
        await _fall_silent(speakers)
        return [
            Figure("acknowledged relays in a rolling restart", _total(speakers, "acknowledged")),
            Figure("of them lost, and nobody was told", sum(each.lost for each in speakers), "", 0),
            Figure("of them lost, and it was said", _told(speakers)),
            Figure("relays that came twice", sum(each.twice for each in speakers), "", 0),
            Figure("relays out of order", sum(each.out_of_order for each in speakers), "", 0),
            Figure("relays cut off, of which nothing is known", _total(speakers, "unsure")),
            Figure("relays refused", sum(each.refused.total() for each in speakers)),
            Figure(
                "reconnects of a client, at most",
                max(each.client.reconnects for each in speakers),
                "",
                PROCESSES,
            ),
            Figure("peers that came back as others", _others(speakers), "", 0),
        ]


def are_connected(speakers: list[Speaker]) -> Callable[[], bool]:
    return lambda: all(speaker.is_connected for speaker in speakers)


async def _fall_silent(speakers: list[Speaker]) -> None:
    """Let them end, and wait until nothing more arrives."""
    await asyncio.gather(*(speaker.end() for speaker in speakers))
    ended = time.monotonic()

    def is_silent() -> bool:
        latest = max(ended, *(speaker.latest for speaker in speakers))
        return not any(speaker.missing for speaker in speakers) or time.monotonic() > latest + 5

    await until(is_silent, "the last relay", within=60)


def _total(speakers: list[Speaker], what: str) -> int:
    return sum(len(getattr(speaker, what)) for speaker in speakers)


def _told(speakers: list[Speaker]) -> int:
    return sum(len(speaker.missing) - speaker.lost for speaker in speakers)


def _others(speakers: list[Speaker]) -> int:
    return sum(speaker.client.reconnects - speaker.client.resumes for speaker in speakers)


async def redis(deployment: Deployment) -> list[Figure]:
    async with AsyncExitStack() as stack:
        half = PAIRS // 2
        together = await deployment.speakers(stack, [(n, n) for n in range(half)])
        parted = await deployment.speakers(stack, [(n, n + 1) for n in range(half)])
        speakers = together + parted
        await asyncio.sleep(2)
        refused_before = sum(speaker.refused.total() for speaker in speakers)
        assert deployment.stores.redis is not None
        await asyncio.to_thread(deployment.stores.redis.stop)
        await asyncio.sleep(OUTAGE)
        await asyncio.to_thread(deployment.stores.start_redis_again)
        back = time.monotonic()
        heard = {speaker: len(speaker.heard) for speaker in parted}
        await until(
            lambda: all(len(speaker.heard) > heard[speaker] for speaker in parted),
            "relays between processes after the outage",
            within=60,
        )
        again = time.monotonic() - back
        await asyncio.sleep(2)
        await _fall_silent(speakers)
        closed = sum(speaker.client.attempts - 1 for speaker in speakers)
        refused = sum(speaker.refused.total() for speaker in together)
        return [
            Figure(f"sockets closed in a Redis outage of {OUTAGE:.0f} s", closed, "", 0),
            Figure("relays refused before it", refused_before, "", 0),
            Figure("relays refused within a process", refused, "", 0),
            Figure("relays refused between processes", sum(s.refused.total() for s in parted)),
            Figure(
                "acknowledged and lost, and nobody was told", sum(s.lost for s in speakers), "", 0
            ),
            Figure("acknowledged and lost, and it was said", _told(speakers)),
            Figure("relays between processes go on after", again, "s"),
        ]


async def stall(deployment: Deployment) -> list[Figure]:
    before: list[float] = []
    during: list[float] = []
    async with AsyncExitStack() as stack:
        places = [(number, number + number % 2) for number in range(PAIRS)]
        speakers = await deployment.speakers(stack, places)
        await asyncio.sleep(2)
        for _ in range(deployment.rounds):
            start = time.monotonic()
            await asyncio.sleep(STALL)
            before += await _delays(speakers, start, time.monotonic())
            async with AsyncExitStack() as joining:
                clients = [
                    await joining.enter_async_context(deployment.client(process))
                    for process in range(PROCESSES)
                ]
                async with locked(deployment):
                    start = time.monotonic()
                    room = deployment.room()
                    joins = [asyncio.create_task(client.join(room)) for client in clients]
                    await asyncio.sleep(STALL)
                    if any(join.done() for join in joins):
                        raise BenchmarkError("nothing was stalled")
                    end = time.monotonic()
                during += await _delays(speakers, start, end)
                await asyncio.wait_for(asyncio.gather(*joins), 30)
            p99 = [percentile(delays, 0.99) * 1e3 for delays in (before, during)]
            say(f"  p99 {p99[0]:.1f} ms before, {p99[1]:.1f} ms during a stall")
        await _fall_silent(speakers)
        difference = percentile(during, 0.99) - percentile(before, 0.99)
        return [
            Figure(f"p99 of {len(before)} relays before", percentile(before, 0.99) * 1e3, "ms"),
            Figure(
                f"p99 of {len(during)} relays in database stalls of {STALL:.0f} s",
                percentile(during, 0.99) * 1e3,
                "ms",
            ),
            Figure("the difference", difference * 1e3, "ms", 5),
            Figure("relays refused", sum(each.refused.total() for each in speakers), "", 0),
            Figure("sockets closed", sum(each.client.attempts - 1 for each in speakers), "", 0),
        ]


async def _delays(speakers: list[Speaker], start: float, end: float) -> list[float]:
    """Return how long the relays took that were due between two times, when all of them have come."""

    def is_past(speaker: Speaker) -> bool:
        return bool(speaker.delays) and speaker.delays[-1][0] > end

    await until(lambda: all(map(is_past, speakers)), "the relays of a window", within=30)
    return [delay for each in speakers for due, delay in each.delays if start <= due <= end]


@asynccontextmanager
async def locked(deployment: Deployment) -> AsyncIterator[None]:
    """Lock every table of the site: whatever asks the database has to wait."""
    url = deployment.stores.database_url(deployment.server.database)

    def lock() -> psycopg.Connection[Any]:
        holder = psycopg.connect(url)
        tables = holder.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = ", ".join(f'"{name}"' for (name,) in tables)
        holder.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE".encode())
        return holder

    holder = await asyncio.to_thread(lock)
    try:
        yield
    finally:
        await asyncio.to_thread(holder.close)


FROZEN = """
import asyncio, sys
from signalling.client import ResumingClient

async def main(url, token, room, kind):
    async with ResumingClient(url, token=token, proxy=None) as client:
        if kind == "resumable":
            await client.join(room)
        else:
            await client.request("join:room", {"roomCode": room})
        if kind != "silent":
            await client.request("ping")
        print(client.peer_id, flush=True)
        async for event in client:
            pass

asyncio.run(main(*sys.argv[1:]))
"""


async def freeze(deployment: Deployment) -> list[Figure]:
    kinds = {
        "resumable": ("a resumable client is away after it froze", "peer:away"),
        "pinging": ("a client that pings has left after it froze", "peer:left"),
        "silent": ("a client that never pings has left after it froze", "peer:left"),
    }
    async with AsyncExitStack() as stack:
        room = deployment.room()
        client = await stack.enter_async_context(deployment.client(0))
        await client.join(room)
        watcher = Watcher(client)
        stack.push_async_callback(watcher.close)
        frozen: dict[str, tuple[str, float]] = {}
        for kind in kinds:
            victim = _victim(deployment, room, kind)
            stack.callback(victim.stop)
            assert victim.popen.stdout is not None
            peer_id = (await asyncio.to_thread(victim.popen.stdout.readline)).strip()
            if not peer_id:
                raise BenchmarkError(f"a client did not join:\n{victim.log_tail()}")
            # It has just pinged: the server waits for as long as it ever does.
            victim.popen.send_signal(signal.SIGSTOP)
            frozen[kind] = peer_id, time.monotonic()
        return [
            Figure(
                name,
                await watcher.is_told(event, frozen[kind][0], within=90) - frozen[kind][1],
                "s",
                50,
            )
            for kind, (name, event) in kinds.items()
        ]


def _victim(deployment: Deployment, room: str, kind: str) -> Process:
    command = [sys.executable, "-c", FROZEN, deployment.url(1), deployment.server.token, room, kind]
    log = deployment.stores.folder / f"frozen-{kind}.log"
    return Process(command, core=LOAD_CORE, log=log, stdout=subprocess.PIPE, text=True)


CASES: dict[str, Callable[[Deployment], Awaitable[list[Figure]]]] = {
    "ghost": ghost,
    "resume": resume,
    "rolling": rolling,
    "redis": redis,
    "stall": stall,
    "freeze": freeze,
}

# --- The run ---------------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: {' '.join(CASES)}")
    parser.add_argument("--server", choices=["uvicorn", "daphne"], default="uvicorn")
    parser.add_argument("--rounds", type=int, default=3, help="of ghost, resume and stall (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    options.cases = options.cases or list(CASES)
    if unknown := set(options.cases) - CASES.keys():
        parser.error(f"no such case: {' '.join(sorted(unknown))}")
    return options


def measure(case: str, options: argparse.Namespace) -> list[Figure]:
    """Run a case on servers of its own."""
    say(f"{case} …")
    with ExitStack() as stack:
        deployment = Deployment(options.server, options.rounds, stack)
        figures = asyncio.run(_in_time(CASES[case](deployment)))
    for figure in figures:
        say("  " + " · ".join(cell for cell in figure.row() if cell))
    return figures


async def _in_time(case: Awaitable[list[Figure]]) -> list[Figure]:
    try:
        async with asyncio.timeout(LIMIT):
            return await case
    except TimeoutError:
        raise BenchmarkError(f"not done within {LIMIT} s") from None


def table(figures: list[Figure]) -> str:
    rows = [["figure", "value", "bar", ""], ["---", "---:", "---:", "---"]]
    rows += [figure.row() for figure in figures]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    raise_file_limit()
    os.sched_setaffinity(0, {LOAD_CORE})
    figures: dict[str, list[Figure]] = {}
    failed = False
    for case in options.cases:
        try:
            figures[case] = measure(case, options)
        except BenchmarkError as error:
            say(f"ERROR in {case}: {error}")
            failed = True
    where = f"{report.machine()}, {ONE_PROCESS[options.server].label}, {PROCESSES} processes"
    print(f"Measured on {where}.")  # noqa: T201
    for case, found in figures.items():
        print(f"\n`python -m benchmarks.reliability {case}`\n\n{table(found)}")  # noqa: T201
    if options.json:
        facts = {case: [asdict(figure) for figure in found] for case, found in figures.items()}
        options.json.write_text(json.dumps({"machine": where, "figures": facts}, indent=1))
    missed = any(f.bar is not None and f.value > f.bar for found in figures.values() for f in found)
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
