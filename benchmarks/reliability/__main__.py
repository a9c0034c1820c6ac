"""Measure what faults cost: how long ghosts stay, how soon peers are back, what is lost.

    python -m benchmarks.reliability                  all cases, 7 to 8 minutes
    python -m benchmarks.reliability ghost resume     only these

  ghost    kill -9 of one of three processes: when peers at the others learn of it
  busy     eight processes use all CPU for two minutes: processes declared dead by mistake
  resume   kill -9, then SIGTERM, of a process with 100 resumable peers: when they are back
  rolling  restart three processes one after the other under 200 relays a second: what is lost
  redis    kill Redis and restart it after 10 s: sockets closed, relays refused
  stall    lock all tables for 3 s while peers join: how much longer relays take
  outage   stop, suspend and lock PostgreSQL: how long leaves and joins take
  freeze   stop client processes with SIGSTOP: when other peers learn of it

The processes, PostgreSQL and Redis are real. All settings are the defaults, except that the rate
limits are raised, since all clients share one user and one address. docs/reliability.md has the
results.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks import report
from benchmarks.contenders import ONE_PROCESS
from benchmarks.processes import LOAD_CORE, BenchmarkError, raise_file_limit
from benchmarks.progress import log

from .clients import freeze
from .database import outage
from .deployment import PROCESSES, Deployment, Figure
from .stores import redis, stall
from .workers import busy, ghost, resume, rolling

CASES: dict[str, Callable[[Deployment], Awaitable[list[Figure]]]] = {
    "ghost": ghost,
    "busy": busy,
    "resume": resume,
    "rolling": rolling,
    "redis": redis,
    "stall": stall,
    "outage": outage,
    "freeze": freeze,
}
CASE_TIMEOUT = 300  # seconds


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: {' '.join(CASES)}")
    parser.add_argument("--server", choices=["uvicorn", "daphne"], default="uvicorn")
    parser.add_argument(
        "--rounds", type=int, default=3, help="of ghost, resume and stall (default 3)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    options.cases = options.cases or list(CASES)
    if unknown := set(options.cases) - CASES.keys():
        parser.error(f"unknown case: {' '.join(sorted(unknown))}")
    return options


def measure(case: str, options: argparse.Namespace) -> list[Figure]:
    """Run a case on servers of its own."""
    log(f"{case} …")
    with ExitStack() as stack:
        deployment = Deployment(options.server, options.rounds, stack)
        figures = asyncio.run(_with_timeout(CASES[case](deployment)))
    for figure in figures:
        log("  " + " · ".join(cell for cell in figure.row() if cell))
    return figures


async def _with_timeout(case: Awaitable[list[Figure]]) -> list[Figure]:
    try:
        async with asyncio.timeout(CASE_TIMEOUT):
            return await case
    except TimeoutError:
        raise BenchmarkError(f"not done within {CASE_TIMEOUT} s") from None


def table(figures: list[Figure]) -> str:
    rows = [["figure", "value", "limit", ""], ["---", "---:", "---:", "---"]]
    rows += [figure.row() for figure in figures]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    raise_file_limit()
    os.sched_setaffinity(0, {LOAD_CORE})
    results: dict[str, list[Figure]] = {}
    has_failed = False
    for case in options.cases:
        try:
            results[case] = measure(case, options)
        except BenchmarkError as error:
            log(f"ERROR in {case}: {error}")
            has_failed = True
    where = f"{report.machine()}, {ONE_PROCESS[options.server].label}, {PROCESSES} processes"
    print(f"Measured on {where}.")
    for case, figures in results.items():
        print(f"\n`python -m benchmarks.reliability {case}`\n\n{table(figures)}")
    if options.json:
        facts = {case: [asdict(figure) for figure in figures] for case, figures in results.items()}
        options.json.write_text(json.dumps({"machine": where, "figures": facts}, indent=1))
    is_exceeded = any(figure.is_exceeded for figures in results.values() for figure in figures)
    return 1 if has_failed or is_exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
