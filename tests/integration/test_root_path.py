"""A site below a path of its host: the servers' option ``--root-path``."""

from __future__ import annotations

import asyncio
import re
from urllib.request import Request, urlopen

import pytest

from tests.integration.fixtures import MakeSite
from tests.integration.processes import START_TIMEOUT
from tests.integration.servers import ServerName, Site


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_the_page_and_the_socket_are_below_the_path(
    make_site: MakeSite, server: ServerName
) -> None:
    """The proxy has removed the path from what it passes on."""
    site = make_site(workers=0)
    site.start_worker(server, "--root-path", "/practice")
    room = site.room()
    cookie = site.session_cookie("alice")
    request = Request(f"{site.worker.http_url}/r/{room}/", headers={"Cookie": cookie})
    with urlopen(request, timeout=START_TIMEOUT) as response:
        page = response.read().decode()
    assert re.findall('data-socket-path="([^"]*)"', page) == ["/practice/ws/signalling/"]
    asyncio.run(join(site, room))


async def join(site: Site, room: str) -> None:
    async with site.client("alice") as alice:
        await alice.join(room)
