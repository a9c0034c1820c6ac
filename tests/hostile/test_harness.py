"""The harness notices an attack that succeeds, and nothing else."""

from __future__ import annotations

import signal
import time

import pytest

from signalling.protocol import CloseCode
from tests.hostile.attacker import Attacker
from tests.hostile.bystander import MB, Bystander
from tests.integration.servers import Site
from tests.integration.wire import client_frame

PING = client_frame(b'{"event": "ping"}')


async def test_a_flood_costs_the_flooder_alone(site: Site, bystander: Bystander) -> None:
    async with Attacker(site) as mallory:
        with bystander.watched():
            await mallory.write(PING * 2000)
            assert await mallory.closed() == CloseCode.FLOOD
    assert mallory.errors["rate_limited"] >= 400


def test_a_worker_that_freezes_is_noticed(site: Site, bystander: Bystander) -> None:
    def freeze() -> None:
        with bystander.watched():
            site.worker.send_signal(signal.SIGSTOP)
            time.sleep(0.4)  # the freeze itself
            site.worker.send_signal(signal.SIGCONT)

    with pytest.raises(AssertionError, match="the p99 of relays exceeds"):
        freeze()


def test_a_worker_that_grows_is_noticed(bystander: Bystander) -> None:
    with (
        pytest.raises(AssertionError, match="the memory of the worker grew"),
        bystander.watched(memory=-MB),
    ):
        pass


async def test_a_visitor_is_noticed(site: Site, bystander: Bystander) -> None:
    async def visit(*events: str) -> None:
        with bystander.watched(events=events):
            async with Attacker(site) as mallory:
                await mallory.join(bystander.room)

    with pytest.raises(AssertionError, match=r"unexpected frames.*peer:joined"):
        await visit()
    await visit("peer:joined", "peer:left")
