"""A client whose network link is cut: its connection ends without a close.

The test adds and removes network interfaces. Chromium then aborts its requests with
ERR_NETWORK_CHANGED, so ``tests.scheduling`` runs this file in the same process as the tests in
Chromium.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Self

import pytest

from tests.integration.fixtures import MakeSite
from tests.integration.processes import ClientProcess, require
from tests.integration.servers import ServerName

SERVERS: list[ServerName] = ["daphne", "uvicorn"]
CANDIDATE = "candidate:1 1 UDP 1 192.0.2.1 1 typ host"


class Link:
    """A network namespace for one client, with a link that can be cut."""

    address = "10.213.77.1"

    _numbers = itertools.count()

    def __init__(self) -> None:
        # A new name each time: the kernel removes a namespace with a delay.
        self.name = f"s{os.getpid()}n{next(self._numbers)}"
        self.inside = ("ip", "netns", "exec", self.name)

    def __enter__(self) -> Self:
        near, far = f"{self.name}a", f"{self.name}b"
        self._ip("netns", "add", self.name)
        self._ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        self._ip("addr", "add", f"{self.address}/30", "dev", near)
        self._ip("link", "set", near, "up")
        self._ip("-n", self.name, "addr", "add", "10.213.77.2/30", "dev", far)
        self._ip("-n", self.name, "link", "set", far, "up")
        return self

    def __exit__(self, *exception: object) -> None:
        self._ip("netns", "del", self.name)

    def is_cut(self) -> None:
        """Cut the link. Both ends keep their connections, but nothing arrives."""
        self._ip("link", "set", f"{self.name}a", "down")

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def link() -> Iterator[Link]:
    if os.geteuid() or shutil.which("ip") is None:
        require("ip", "iproute2")
        pytest.skip("a network namespace can be made by root alone")
    with Link() as link:
        yield link


@pytest.mark.parametrize("server", SERVERS)
async def test_a_link_that_is_cut_without_a_close(
    make_site: MakeSite, server: ServerName, link: Link
) -> None:
    site = make_site(server=server, signalling={"HEARTBEAT_TIMEOUT": 2})
    far = site.start_worker(server, host=link.address)
    code = site.room()
    async with site.client("watcher", worker=1) as watcher:
        await watcher.join(code)
        victim = ClientProcess(far.url, site.token("far"), site.folder, *link.inside)
        victim.send("join:room", roomCode=code, resumable=True)
        peer_id = (await watcher.wait_for("peer:joined", within=10))["peerId"]
        link.is_cut()
        await watcher.request("webrtc:ice", {"targetPeerId": peer_id, "candidate": CANDIDATE})
        await watcher.wait_for("peer:away", peerId=peer_id, within=6)
        victim.kill()
    far.stop(signal.SIGKILL)  # it would wait for the victim to answer its close frame
