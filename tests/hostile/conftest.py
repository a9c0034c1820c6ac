"""The harness of the attacks: real servers, and a bystander that must not notice.

An attack is a test that uses two fixtures::

    async def test_a_flood_of_pings(site: Site, bystander: Bystander) -> None:
        async with Attacker(site, "mallory") as mallory:
            with bystander.watched():
                await mallory.write(client_frame(PING) * 1000)
                await mallory.answers(1000)
        assert mallory.close_code == CloseCode.FLOOD

``site`` is one worker with the default settings: Daphne, then uvicorn. All modules share the two, so
an attack uses users, rooms and an ``address`` of its own, and leaves no mess. A module with other
settings overrides ``site``; ``WITH_LIMITS`` are the limits that the sites of other tests switch off::

    @pytest.fixture(scope="module", params=SERVERS)
    def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
        return make_site(server=request.param, signalling={**WITH_LIMITS, "FRAME_BURST": 10})

``bystander`` is a room of two peers on that worker. They run in a process of their own, so the work of
the attacker does not delay them. ``bystander.watched()`` compares the time of the attack with the
time before it, and fails the test if the attack reached them; see ``Bystander.watched``. A traceback
in the log of a server fails the test, unless the test expects it (``logs.expect``).

``Attacker`` is a client on a bare TCP connection. It sends any bytes and counts the answers.
``site.client(…)`` is an honest client.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.hostile.bystander import Bystander
from tests.hostile.settings import SERVERS, WITH_LIMITS
from tests.integration.conftest import logs, pytest_runtest_makereport
from tests.integration.fixtures import sites
from tests.integration.servers import ServerName, Site

__all__ = ["logs", "pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def shared_site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Callable[[ServerName], Site]]:
    """Return a function from a server to the site that all modules share. Each starts once."""
    running: dict[ServerName, Site] = {}
    with sites(request, tmp_path_factory, django_db_blocker, is_traced=False) as make_site:

        def shared_site(server: ServerName) -> Site:
            if server not in running:
                running[server] = make_site(server=server, signalling=WITH_LIMITS)
            return running[server]

        yield shared_site


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, shared_site: Callable[[ServerName], Site]) -> Site:
    """A site with the default settings. All modules share it."""
    return shared_site(request.param)


@pytest.fixture(scope="module")
def bystander(site: Site) -> Iterator[Bystander]:
    """Two peers of a room on the first worker of ``site``."""
    with Bystander(site) as bystander:
        yield bystander


_addresses = (f"127.{a}.{b}.1" for a, b in itertools.product(range(1, 255), range(256)))


@pytest.fixture
def address() -> str:
    """An address of this machine that no other test of this process uses, for one attacker."""
    return next(_addresses)
