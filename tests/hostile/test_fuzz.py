"""Fuzzed frames: nothing is logged as a bug, and no other socket notices.

``make fuzz`` sends ten times as many.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings

from signalling.protocol import SERVER_EVENTS, CloseCode, ErrorCode
from signalling.testing import SignallingCommunicator
from tests.hostile import fuzz
from tests.hostile.attacker import Attacker
from tests.hostile.bystander import Bystander
from tests.hostile.settings import SERVERS
from tests.integration.fixtures import BUGS, MakeSite
from tests.integration.servers import Site
from tests.integration.wire import client_frame

FRAMES = int(os.environ.get("FUZZ_FRAMES", "10000"))
BATCH = 48
END = client_frame(b'{"event": "ping", "id": "the end"}')
CLOSES = {*CloseCode, 1002, 1003, 1005, 1006, 1007, 1009}


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    return make_site(
        server=request.param,
        signalling={"BYTE_BURST": 1_000_000_000, "BYTE_RATE": 1_000_000_000},
    )


class Fuzzer:
    """Sends batches of frames, and watches a peer in the room that the frames name."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.room = site.room()
        self.peer_ids: set[str] = set()
        self.sent = 0
        self._stack = AsyncExitStack()
        self._witness: SignallingCommunicator
        self._log = site.worker.log.open(errors="replace")

    async def start(self) -> None:
        self._witness = await self._stack.enter_async_context(self.site.client("witness"))
        await self._witness.join(self.room)

    async def send(self, other: Bystander, batch: fuzz.Batch) -> None:
        token = self.site.token("mallory")
        async with Attacker(
            self.site, token=token if batch.identity == "header" else None
        ) as mallory:
            names = {
                "@target": self._witness.peer_id,
                "@other": other.peer_ids[0],
                "@own": next(iter(self.peer_ids), ""),
                "@room": self.room,
                "@token": token,
                "@stranger": self.site.token("trudy"),
            }
            if batch.identity == "frame":
                await mallory.send("authenticate", {"token": token})
            await mallory.write(b"".join(fuzz.message(filled(t, names)) for t in batch.texts) + END)
            self.sent += len(batch.texts)
            await mallory.answer_to("the end")
            await mallory.write(batch.tail)
            mallory.writer.write_eof()
            assert await mallory.closed() in CLOSES
        self.peer_ids |= mallory.peer_ids
        assert set(mallory.errors) <= set(ErrorCode) - {"internal", "unavailable"}
        assert set(mallory.events) <= set(SERVER_EVENTS)
        self.check_witness()
        logged = self._log.read()
        bugs = [logged[logged.index(bug) :][:4000] for bug in BUGS if bug in logged]
        assert not bugs, "\n".join(bugs)

    def check_witness(self) -> None:
        """Check that the witness only receives what the protocol allows."""
        assert self._witness.close_code is None
        for frame in self._witness.unread:
            assert frame["event"] in SERVER_EVENTS, frame
            if frame["event"].startswith("webrtc:"):
                assert frame["data"]["fromPeerId"] in self.peer_ids, frame
        self._witness.clear()

    async def finish(self) -> None:
        await self._witness.request("ping")
        await self._stack.aclose()
        self._log.close()


def filled(text: bytes, names: dict[str, str]) -> bytes:
    for name, value in names.items():
        text = text.replace(name.encode(), json.dumps(value)[1:-1].encode())
    return text


def test_fuzzed_frames_reach_nobody(site: Site, bystander: Bystander) -> None:
    fuzzer = Fuzzer(site)
    with asyncio.Runner() as runner, bystander.watched():
        runner.run(fuzzer.start())

        @settings(
            max_examples=FRAMES // BATCH,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(fuzz.batches(BATCH))
        def send(batch: fuzz.Batch) -> None:
            runner.run(fuzzer.send(bystander, batch))

        send()
        runner.run(fuzzer.finish())
    assert fuzzer.sent > FRAMES * 0.9
    assert len(fuzzer.peer_ids) > FRAMES / BATCH / 20, "hardly any join was accepted"
