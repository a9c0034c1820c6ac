"""Two real processes on our Redis layer: order is kept, no message is lost or duplicated."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import effort
from tests.integration.processes import ROOT
from tests.integration.servers import site_environment
from tests.integration.stores import Redis
from tests.patience import PATIENCE

_runs = itertools.count(1)


class Worker:
    """One ``worker`` process."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.signalling.layers.worker", redis.url, prefix],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=site_environment(),
            text=True,
        )
        self.channels: list[str] = self.receive()

    def send(self, line: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.stdout.close()
            self._process.wait(PATIENCE)


@pytest.fixture(scope="module")
def workers(redis: Redis) -> Iterator[list[Worker]]:
    workers = [Worker(redis, "processes") for _ in range(2)]
    yield workers
    for worker in workers:
        worker.stop()


# Targets are the numbers of the four channels: two in each process.
step = st.sampled_from(["pause", "group", 0, 1, 2, 3])
sender = st.lists(step, min_size=1, max_size=40)


@settings(
    max_examples=effort(50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plans=st.tuples(*[st.lists(sender, max_size=3)] * 2))
@pytest.mark.timeout(60)
def test_each_pair_keeps_its_order_without_loss_or_duplicates(
    workers: list[Worker], plans: tuple[list[list[Any]], ...]
) -> None:
    run = next(_runs)
    channels = [channel for worker in workers for channel in worker.channels]
    expected: dict[str, dict[str, list[int]]] = {channel: {} for channel in channels}
    lines: list[dict[str, list[str]]] = []
    for place, senders in enumerate(plans):
        plan: dict[str, list[str]] = {}
        for index, steps in enumerate(senders):
            name = f"{place}.{index}"
            plan[name] = [channels[entry] if entry in range(4) else entry for entry in steps]
            for number, entry in enumerate(plan[name]):
                for channel in channels if entry == "group" else [entry]:
                    if channel != "pause":
                        expected[channel].setdefault(name, []).append(number)
        lines.append(plan)
    counts = {
        channel: sum(len(numbers) for numbers in senders.values())
        for channel, senders in expected.items()
    }
    for worker, plan in zip(workers, lines, strict=True):
        worker.send({"run": run, "senders": plan, "expected": counts})

    for worker in workers:
        for channel, entries in worker.receive().items():
            received: dict[str, list[int]] = {}
            for entry_run, name, number in entries:
                assert entry_run == run, "a message of an earlier run"
                received.setdefault(name, []).append(number)
            assert received == expected[channel]
