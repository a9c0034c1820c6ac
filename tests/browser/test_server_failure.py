"""A call survives the failure of its server."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import sign_in
from tests.browser.demo import Demo
from tests.browser.network import proxy_to
from tests.browser.person import Person
from tests.browser.test_resume import (
    SELF,
    expect_reconnected,
    expect_reconnecting,
    expect_unbroken_media,
    watch,
)
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """Two servers that share their database and Redis."""
    site = make_site(redis=True, workers=2, server="uvicorn")
    for name in ("alice", "bob"):
        site.user(name)
    return site


@pytest.fixture
def at(site: Site, browser: Browser) -> Iterator[Callable[[Demo, str], Person]]:
    """Return a function that creates a signed-in person at an address."""
    people: list[Person] = []

    def at(demo: Demo, username: str) -> Person:
        state = sign_in(demo, browser, username)
        people.append(Person(demo, username, browser.new_context(storage_state=state)))
        return people[-1]

    yield at
    for person in people:
        person.context.close()
    assert [error for person in people for error in person.errors] == []


def test_media_continues_when_a_server_is_killed(
    site: Site, at: Callable[[Demo, str], Person]
) -> None:
    passwords = {"alice": "alice", "bob": "bob"}
    dying, living = (Demo(worker.http_url, passwords) for worker in site.workers)
    code = site.room()
    with proxy_to(dying) as proxy:
        alice, bob = at(living, "alice").join(code), at(proxy.demo, "bob").join(code)
        for person in (alice, bob):
            person.wait_for_media(1)
        watch(alice, bob)
        peer_id = bob.call(SELF)

        proxy.cut()  # as a load balancer does for a server that is down
        site.workers[0].send_signal(signal.SIGKILL)
        site.workers[0].wait()
        expect_reconnecting(bob)
        proxy.connect_to(living)
        proxy.restore()

        expect_reconnected(bob)
        assert bob.call(SELF) == peer_id
        for person in (alice, bob):
            person.wait_for_media(1)
            expect(person.tiles).to_have_count(2)
        expect_unbroken_media(alice, bob)
        assert site.database.live_peers(code) == {peer_id, alice.call(SELF)}
