"""Clients that freeze, vanish, connect twice, or use the token of another user."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter

import pytest

from signalling.client import ResumingClient
from signalling.testing import RequestRefused
from tests.integration.fixtures import MakeSite
from tests.integration.processes import ROOT, Process
from tests.integration.servers import ServerName, Site
from tests.integration.traffic import wait_until

SERVERS: list[ServerName] = ["daphne", "uvicorn"]
CANDIDATE = "candidate:1 1 UDP 1 192.0.2.1 1 typ host"


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """Two workers with a short resume window."""
    window = {"RESUME_WINDOW": 2}
    return make_site(
        engine="postgresql", redis=True, workers=2, server="uvicorn", signalling=window
    )


@pytest.mark.parametrize("server", SERVERS)
async def test_a_frozen_client_is_away_and_then_removed(
    make_site: MakeSite, server: ServerName
) -> None:
    settings = {"HEARTBEAT_TIMEOUT": 2, "RESUME_WINDOW": 1, "LEASE_SECONDS": 3, "LEASE_RENEWAL": 1}
    site = make_site(server=server, signalling=settings)
    code = site.room()
    async with site.client("watcher") as watcher:
        await watcher.join(code)
        victim = site.victim("frozen")
        victim.send("join:room", roomCode=code, resumable=True)
        peer_id = (await watcher.wait_for("peer:joined"))["peerId"]
        victim.send_signal(signal.SIGSTOP)
        await watcher.wait_for("peer:away", peerId=peer_id, within=6)
        left = await watcher.wait_for("peer:left", peerId=peer_id, within=6)
        assert left["reason"] == "disconnected"
        assert site.database.live_peers(code) == {watcher.peer_id}
        victim.kill()


class Sleeper(Process):
    """A resumable client in its own process, so that it can be suspended."""

    SCRIPT = """
import asyncio, sys
from signalling.client import ResumingClient
async def main(url, token, room):
    async with ResumingClient(url, token=token, ping_interval=0.5) as client:
        await client.join(room)
        async for event in client:
            pass
asyncio.run(main(*sys.argv[1:]))
"""

    def __init__(self, site: Site, room: str) -> None:
        super().__init__("sleeper", site.folder / "sleeper.log")
        arguments = [site.worker.url, site.token("sleeper"), room]
        self.spawn([sys.executable, "-c", self.SCRIPT, *arguments], cwd=ROOT)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_laptop_that_wakes_up_resumes_as_the_same_peer(
    make_site: MakeSite, server: ServerName
) -> None:
    site = make_site(server=server, signalling={"HEARTBEAT_TIMEOUT": 2})
    code = site.room()
    async with site.client("watcher") as watcher:
        await watcher.join(code)
        sleeper = Sleeper(site, code)
        peer_id = (await watcher.wait_for("peer:joined", within=10))["peerId"]
        sleeper.send_signal(signal.SIGSTOP)
        await watcher.wait_for("peer:away", peerId=peer_id, within=6)
        sleeper.send_signal(signal.SIGCONT)
        await watcher.wait_for("peer:back", peerId=peer_id, within=6)
        await watcher.receive_nothing()
        sleeper.stop()


async def test_only_one_of_two_sockets_with_the_same_token_keeps_the_peer(site: Site) -> None:
    code = site.room()
    async with site.client("watcher") as watcher, site.client("keen") as keen:
        await watcher.join(code)
        token = (await keen.join(code, resumable=True))["resumeToken"]
        await keen.reset()
        async with site.client("keen", worker=0) as one, site.client("keen", worker=1) as other:
            both = await asyncio.gather(
                *(client.resume(code, token) for client in (one, other)), return_exceptions=True
            )
            # The previous token stays valid for a lost reply, so both resume and the later one fences.
            assert all(isinstance(result, dict) for result in both), both
            closes = [asyncio.create_task(client.receive_close()) for client in (one, other)]
            done, pending = await asyncio.wait(closes, return_when=asyncio.FIRST_COMPLETED)
            assert [await close for close in done] == [4409]
            for close in pending:
                close.cancel()
            winner = one if one.close_code is None else other
            await winner.request("ping")
            await watcher.request(
                "webrtc:ice", {"targetPeerId": keen.peer_id, "candidate": CANDIDATE}
            )
            await winner.wait_for("webrtc:ice")
            assert site.database.live_peers(code) == {watcher.peer_id, keen.peer_id}


async def test_a_former_socket_on_another_worker_is_fenced(site: Site) -> None:
    code = site.room()
    async with (
        site.client("watcher", worker=1) as watcher,
        site.client("keen", worker=0) as former,
        site.client("keen", worker=1) as keen,
    ):
        await watcher.join(code)
        token = (await former.join(code, resumable=True))["resumeToken"]
        await watcher.wait_for("peer:joined", peerId=former.peer_id)
        await keen.resume(code, token)
        assert keen.peer_id == former.peer_id
        assert await former.receive_close() == 4409
        await watcher.wait_for("peer:back", peerId=keen.peer_id)
        await watcher.request("webrtc:ice", {"targetPeerId": keen.peer_id, "candidate": CANDIDATE})
        await keen.wait_for("webrtc:ice")
        await watcher.receive_nothing()
        assert site.database.live_peers(code) == {watcher.peer_id, keen.peer_id}


async def test_a_peer_cannot_resume_with_the_token_of_another_user_or_room(site: Site) -> None:
    code, elsewhere = site.room(), site.room()
    async with site.client("keen") as keen, site.client("mallory", worker=1) as mallory:
        token = (await keen.join(code, resumable=True))["resumeToken"]
        for stolen in (token, keen.peer_id):
            with pytest.raises(RequestRefused) as refused:
                await mallory.resume(code, stolen)
            assert refused.value.code == "resume_invalid"
        async with site.client("keen", worker=1) as again:
            with pytest.raises(RequestRefused) as refused:
                await again.resume(elsewhere, token)
            assert refused.value.code == "resume_invalid"
        await keen.receive_nothing()


async def test_a_peer_that_resumes_too_late_has_left_and_is_announced_once(site: Site) -> None:
    code = site.room()
    async with (
        site.client("watcher", worker=0) as watcher,
        site.client("other", worker=1) as other,
        site.client("keen", worker=0) as keen,
    ):
        await watcher.join(code)
        await other.join(code)
        token = (await keen.join(code, resumable=True))["resumeToken"]
        await keen.reset()
        for client in (watcher, other):
            await client.wait_for("peer:left", peerId=keen.peer_id, within=10)
        async with site.client("keen", worker=1) as again:
            with pytest.raises(RequestRefused) as refused:
                await again.resume(code, token)
            assert refused.value.code == "resume_expired"
            await again.join(code, resumable=True)
            assert again.peer_id != keen.peer_id
        for client in (watcher, other):
            await client.wait_for("peer:left", peerId=again.peer_id)
            announced = Counter(
                (frame["event"], frame["data"]["peerId"])
                for frame in client.unread
                if frame["event"] == "peer:left"
            )
            assert not announced, announced


async def test_five_hundred_sockets_of_a_stopped_worker_resume(make_site: MakeSite) -> None:
    site = make_site(engine="postgresql", redis=True, workers=2, server="uvicorn")
    rooms = [site.room() for _ in range(50)]
    urls = [worker.url for worker in site.workers]
    tokens = [site.token(f"user{number}") for number in range(20)]
    clients = [ResumingClient(urls, token=tokens[number % 20]) for number in range(500)]
    try:
        for batch in range(0, 500, 50):
            await asyncio.gather(*(client.connect() for client in clients[batch : batch + 50]))
            await asyncio.gather(
                *(
                    client.join(rooms[(batch + number) // 10])
                    for number, client in enumerate(clients[batch : batch + 50])
                )
            )
        ids = [client.peer_id for client in clients]
        assert len(set(ids)) == 500
        begun = time.monotonic()
        site.workers[0].send_signal(signal.SIGTERM)
        ending = asyncio.to_thread(site.workers[0].wait)
        await wait_until(lambda: all(c.resumes == 1 for c in clients), "all are back", within=30)
        assert await ending == 0
        assert time.monotonic() - begun < 30
        assert [client.peer_id for client in clients] == ids
        assert all(client.close_code == 4503 for client in clients)
        assert site.database.live_rows() == 500
        assert site.database.workers() == 1
    finally:
        await asyncio.gather(*(client.close() for client in clients))
