"""Measure the cost of a relayed message, a join and an idle socket, here and in other servers.

    python -m benchmarks.run                      everything, about 20 minutes
    python -m benchmarks.run --quick              200 sockets, short windows, under 2 minutes
    python -m benchmarks.run --cases relay-200 --peers uvicorn nest ws

A case is KIND-SOCKETS:
  relay-N  one process; N sockets in rooms of ten, all of them relaying
  two-N    two processes and Redis, neighbours on different ones; first half of the relays cross
           from one process to the other, then all
  idle-N   one process; N joined sockets; in one room of ten, each peer relays 10 candidates/s

All servers of a case run at once and are measured in turns, so that a disturbance of the machine
affects all of them. docs/performance.md explains the result.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.contenders import ONE_PROCESS, PEERS, TWO_PROCESSES, Contender, Server, Site
from benchmarks.load import Load
from benchmarks.processes import (
    LOAD_CORE,
    ROOT,
    SERVER_CORE,
    BenchmarkError,
    Stores,
    busy_seconds,
    raise_file_limit,
)
from benchmarks.progress import log

CASES = ["relay-200", "relay-3000", "two-200", "idle-10000"]
QUICK_CASES = ["relay-200", "two-200"]
IDLE_PEERS = {"uvicorn", "nest", "ws"}  # unless --peers says otherwise
QUICK_SKIPS = {"stock-core"}
DISTURBED = 0.1  # the share of the servers' core that other programs may use without a warning
TIMED_JOINS = 200  # the last joins, with all other sockets already open


@dataclass
class Window:
    """One measurement of relaying."""

    messages_per_second: float
    server_us: float
    redis_us: float
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    load_cpu: float
    server_cpu: float
    foreign_cpu: float
    lost: int


@dataclass
class Result:
    """All results of one contender in one case."""

    case: str
    peer: str
    label: str
    sockets: int
    join_ms: float = 0.0
    kb_per_socket: float = 0.0
    windows: list[Window] = field(default_factory=list)
    problems: dict[str, int] = field(default_factory=dict)


class Trial:
    """One contender in one case: its server, its load, its result."""

    def __init__(
        self, case: str, peer: str, contender: Contender, run: Run, stack: ExitStack
    ) -> None:
        self.kind, sockets = case.split("-")
        self.result = Result(case, peer, contender.label, int(sockets))
        processes = 2 if self.kind == "two" else 1
        self.server = Server(contender, run.site, run.stores, processes, stack)
        self.load = Load(self.server, stack, run.stores.folder)

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        answer = self.load.ask(do, **options)
        for what, count in answer["problems"].items():
            self.result.problems[what] = self.result.problems.get(what, 0) + count
            log(f"  PROBLEM with {self.result.label}: {count} x {what}")
        return answer

    def fill(self) -> None:
        """Join all sockets. Measure CPU over the last joins and memory over all sockets."""
        self.open(20)  # the first joins load modules and open connections
        self.ask("close", timeout=30)
        time.sleep(1)
        memory = self.server.private_kb
        sockets = self.result.sockets
        last = min(TIMED_JOINS, sockets)
        if sockets > last:
            self.open(sockets - last)
        cpu = self.server.cpu
        self.open(last)
        self.result.join_ms = (self.server.cpu - cpu) / last * 1000
        time.sleep(1)
        self.result.kb_per_socket = (self.server.private_kb - memory) / sockets

    def open(self, count: int) -> None:
        before = self.result.problems.copy()
        joined = self.ask("open", count=count, timeout=60 + count * 0.1)["joined"]
        if self.result.problems != before:
            raise BenchmarkError(
                f"{self.result.label}: only {joined} sockets joined\n{self.server.log_tail()}"
            )

    def relay(self, seconds: float, **options: Any) -> None:
        """Measure one window."""
        marks: list[tuple[float, float, float]] = []

        def mark() -> None:
            marks.append((self.server.cpu, self.server.redis_cpu, busy_seconds(SERVER_CORE)))

        answer = self.ask(
            "relay",
            seconds=seconds,
            timeout=seconds * 2 + 240,
            on={"started": mark, "ended": mark},
            **options,
        )
        server, redis, core = (after - before for before, after in zip(*marks, strict=True))
        messages, elapsed = answer["messages"] or float("nan"), answer["elapsed"]
        window = Window(
            messages_per_second=answer["messages"] / elapsed,
            server_us=server / messages * 1e6,
            redis_us=redis / messages * 1e6,
            p50_ms=answer["p50"],
            p99_ms=answer["p99"],
            max_ms=answer["max"],
            load_cpu=answer["loadCpu"],
            server_cpu=server / elapsed,
            foreign_cpu=max(0.0, core - server - redis) / elapsed,
            lost=answer["lost"],
        )
        self.result.windows.append(window)
        self.log(window)

    def log(self, window: Window) -> None:
        warnings = f", LOST {window.lost}" if window.lost else ""
        if window.foreign_cpu > DISTURBED:
            warnings += f", DISTURBED: other programs took {window.foreign_cpu:.0%} of the core"
        log(
            f"  {self.result.label}: {window.messages_per_second:,.0f}/s, {window.server_us:.1f} µs, "
            f"p99 {window.p99_ms or 0:.1f} ms (server {window.server_cpu:.0%} of its core, "
            f"load {window.load_cpu:.0%}){warnings}"
        )


class Run:
    """Runs the cases one after the other."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self.options = options
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        self.stores = Stores(folder, stack)
        extra = dict(pair.split("=", 1) for pair in options.env)
        self.site = Site(self.stores, extra)

    def case(self, case: str) -> list[Result]:
        kind = case.split("-")[0]
        with ExitStack() as stack:
            trials = []
            for peer, contender in self.contenders(kind).items():
                log(f"{case}: {contender.label} …")
                trial = Trial(case, peer, contender, self, stack)
                trial.fill()
                result = trial.result
                log(f"  join {result.join_ms:.2f} ms, {result.kb_per_socket:.1f} KB a socket")
                trials.append(trial)
            return self.measure(kind, trials)

    def contenders(self, kind: str) -> dict[str, Contender]:
        table = TWO_PROCESSES if kind == "two" else ONE_PROCESS
        usual = IDLE_PEERS if kind == "idle" else [p for p in table if not table[p].is_on_request]
        wanted = set(self.options.peers or usual)
        if self.options.quick and not self.options.peers:
            wanted -= QUICK_SKIPS
        return {peer: contender for peer, contender in table.items() if peer in wanted}

    def measure(self, kind: str, trials: list[Trial]) -> list[Result]:
        options = {"seconds": self.options.seconds, "window": self.options.window}
        if kind == "idle":
            options |= {"every": 10, "pause": 100}
        results = []
        for crossing in ("half", "all") if kind == "two" else ("half",):
            for trial in trials if crossing == "all" else ():
                trial.result = Result(**{**vars(trial.result), "windows": [], "problems": {}})
                trial.result.case += "-all-cross"
            for number in range(self.options.rounds):
                crosses = f", {crossing} of the relays cross" if kind == "two" else ""
                log(f"round {number + 1} of {self.options.rounds}{crosses}")
                # A server with a JIT compiler (V8) reaches its normal speed after some seconds.
                warm_up = 1 if number else self.options.seconds
                for trial in trials:
                    trial.relay(crossing=crossing, warmUp=warm_up, **options)
            results += [trial.result for trial in trials]
        return results


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = sorted({*ONE_PROCESS, *TWO_PROCESSES})
    parser.add_argument(
        "--quick", action="store_true", help=f"only {' '.join(QUICK_CASES)}, 1 round of 2 s"
    )
    parser.add_argument("--cases", nargs="+", metavar="CASE", help=f"default: {' '.join(CASES)}")
    parser.add_argument("--peers", nargs="+", choices=names, metavar="PEER", help=", ".join(names))
    parser.add_argument("--rounds", type=int, help="windows for each server (default 3)")
    parser.add_argument("--seconds", type=float, help="length of a window (default 5)")
    parser.add_argument(
        "--window", type=int, default=1, help="relays in flight for each peer (default 1)"
    )
    parser.add_argument(
        "--env",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="environment variables for our servers",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all windows to FILE")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw a plot, for example docs/images/performance.png",
    )
    options = parser.parse_args()
    options.cases = options.cases or (QUICK_CASES if options.quick else CASES)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (2 if options.quick else 5)
    for case in options.cases:
        kind, _, sockets = case.partition("-")
        if kind not in ("relay", "two", "idle") or not sockets.isdecimal() or int(sockets) % 10:
            parser.error(f"{case}: a case is relay-N, two-N or idle-N, with N a multiple of ten")
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install -r benchmarks/requirements.txt")
    if not (PEERS / "node_modules").is_dir():
        parser.error("the Node servers are not installed: npm ci --prefix benchmarks/peers")
    return options


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    log(
        f"servers on core {SERVER_CORE}, load on core {LOAD_CORE}, {raise_file_limit():,} open files"
    )
    results: list[Result] = []
    try:
        with ExitStack() as stack:
            run = Run(options, stack)
            for case in options.cases:
                results += run.case(case)
    except BenchmarkError as error:
        log(f"ERROR: {error}")
        return 1
    finally:
        finish(options, [asdict(result) for result in results])
    return 1 if any(result.problems for result in results) else 0


def finish(options: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """Print and write the results so far, also after an error."""
    machine = report.machine()
    print(report.markdown(results, machine))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1))
    if options.plot and results:
        report.plot(results, machine, ROOT / options.plot)


if __name__ == "__main__":
    sys.exit(main())
