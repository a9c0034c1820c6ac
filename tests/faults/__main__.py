"""Inject random faults into a running site, and check what its clients see.

    make soak MINUTES=10                       with a random seed
    make soak MINUTES=10 SEED=7                the same faults again
    make soak SOAK="--only redis-stop"         one kind of fault
    make soak SOAK="--replay .soak/7"          exactly the steps of a run that failed

Three workers (two uvicorn, one Daphne) share a PostgreSQL and a Redis. Clients join, leave, relay,
lose their sockets, resume, and move to other workers without a pause. Each step injects one fault
or two. Then the clients stop to act, and within some seconds all of them must agree with the
database.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
from pathlib import Path

import django
import msgspec
import pytest


def parse() -> argparse.Namespace:
    from .history import RULES
    from .schedule import KINDS

    width = max(map(len, [*KINDS, *RULES]))
    lists = {"faults": KINDS, "invariants": RULES}
    explained = [
        "\n".join([f"{title}:", *(f"  {name:{width}}  {text}" for name, text in entries.items())])
        for title, entries in lists.items()
    ]
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n\n".join(explained),
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long (default 10)")
    parser.add_argument("--seed", type=int, help="of faults and clients (default: random)")
    parser.add_argument("--only", metavar="FAULT[,FAULT…]", help="inject only these faults")
    parser.add_argument(
        "--within", type=float, default=10, help="seconds until all must agree (default 10)"
    )
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="repeat a saved run")
    parser.add_argument("--check", type=Path, metavar="FILE", help="only check a saved history")
    parser.add_argument(
        "--keep",
        type=Path,
        default=Path(".soak"),
        metavar="FOLDER",
        help="for the history, the schedule and the logs of runs that fail (default .soak)",
    )
    options = parser.parse_args()
    options.kinds = options.only.split(",") if options.only else list(KINDS)
    if unknown := set(options.kinds) - KINDS.keys():
        parser.error(f"unknown fault: {' '.join(sorted(unknown))}")
    return options


def check(path: Path) -> int:
    """Check a saved history, and print its violations."""
    from . import history, records

    violations = history.check(records.load(path))
    for violation in violations:
        print(f"[{violation.at:7.1f} s] step {violation.step} {violation.rule}: {violation.text}")
    print(f"{len(violations)} violations")
    return 1 if violations else 0


def run(options: argparse.Namespace) -> int:
    """Run the soak, and print its summary."""
    from .schedule import Schedule, steps
    from .soak import soak, summary, totals

    seconds = options.minutes * 60
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    planned = steps(seed, options.kinds)
    if options.replay is not None:
        decoder = msgspec.json.Decoder(Schedule)
        saved = decoder.decode((options.replay / "schedule.json").read_bytes())
        seed, planned, seconds = saved.seed, iter(saved.steps), float("inf")
    keep = options.keep / str(seed)
    try:
        result = asyncio.run(soak(seed, planned, seconds=seconds, within=options.within, keep=keep))
    except pytest.skip.Exception as missing:
        print(missing)
        return 2
    print(f"\n{totals(result)}\n\n{summary(result)}")
    if not result.violations:
        print("\nNo violations.")
        return 0
    print(f"\n{len(result.violations)} violations. History, schedule and logs: {keep}")
    print(f'To repeat the run: make soak SOAK="--replay {keep}"')
    return 1


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    options = parse()
    return run(options) if options.check is None else check(options.check)


if __name__ == "__main__":
    sys.exit(main())
