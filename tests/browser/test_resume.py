"""A call survives the loss of signalling sockets: media continues and peer ids stay the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Enter
from tests.browser.demo import Demo
from tests.browser.network import Proxy, proxy_to
from tests.browser.person import Person, eventually
from tests.browser.test_errors import intercepted

# Records problems with the video of each current peer: time without a new frame, or a counter that
# was reset. Time counts only if two samples are equal: a busy machine also samples late.
WATCH = """() => {
  const {call} = document.querySelector("[data-call]");
  const now = () => performance.now();
  const seen = new Map([...call.room.peers].map(([id, {pc}]) => [id, {pc, frames: 0, since: now()}]));
  const watch = (window.watch = {longest: 0, samples: 0, problems: []});
  const isVideo = ({type, kind}) => type === "inbound-rtp" && kind === "video";
  const framesOf = async (pc) => [...(await pc.getStats()).values()].find(isVideo)?.framesDecoded;
  const sample = async () => {
    for (const [id, last] of seen) {
      if (call.room.peers.get(id)?.pc !== last.pc) watch.problems.push("another connection");
      const frames = (await framesOf(last.pc)) ?? 0;
      if (frames < last.frames) watch.problems.push("the counter was reset");
      if (frames === last.frames) watch.longest = Math.max(watch.longest, now() - last.since);
      else Object.assign(last, {frames, since: now()});
    }
    watch.samples += 1;
    setTimeout(sample, 100);
  };
  sample();
}"""

MAX_GAP = 2_000  # milliseconds: more than a busy machine causes, less than a new connection takes
SELF = "call.session.membership.peerId"
UFRAG = "[...call.room.peers.values()][0].pc.localDescription.sdp.match(/ice-ufrag:(.*)/)[1]"


@pytest.fixture
def proxy(demo: Demo) -> Iterator[Proxy]:
    with proxy_to(demo) as proxy:
        yield proxy


def through(proxy: Proxy, person: Person) -> Person:
    person.demo = proxy.demo
    return person


def watch(*people: Person) -> None:
    for person in people:
        person.page.evaluate(WATCH)


def expect_unbroken_media(*people: Person) -> None:
    for person in people:
        # A peer may be back before the page has taken enough samples, one every 100 ms.
        eventually(lambda person=person: person.page.evaluate("() => window.watch.samples") > 5)  # type: ignore[misc]
        seen: dict[str, Any] = person.page.evaluate("() => window.watch")
        assert seen["problems"] == []
        assert seen["longest"] < MAX_GAP


def expect_reconnecting(person: Person) -> None:
    expect(person.page.get_by_text("Reconnecting…", exact=True)).to_be_visible()


def expect_reconnected(person: Person) -> None:
    expect(person.page.get_by_text("Reconnecting…", exact=True)).to_have_count(0)
    assert person.call("call.session.client.connected")


def test_media_continues_while_signalling_is_interrupted(
    room: str, proxy: Proxy, enter: Enter
) -> None:
    alice, bob = enter("alice").join(room), through(proxy, enter("bob")).join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
    watch(alice, bob)
    peer_id = bob.call(SELF)

    proxy.cut()
    expect_reconnecting(bob)
    expect(alice.tile("bob")).to_contain_text("reconnecting…")
    for person in (alice, bob):
        person.wait_for_media(1)
        expect(person.tiles).to_have_count(2)
        expect(person.alert).to_be_hidden()
    bob.button("Mute microphone").click()

    proxy.restore()
    expect_reconnected(bob)
    expect(alice.tile("bob")).not_to_contain_text("reconnecting…")
    expect(alice.tile("bob")).to_contain_text("muted")
    assert bob.call(SELF) == peer_id
    for person in (alice, bob):
        person.wait_for_media(1)
    expect_unbroken_media(alice, bob)


def test_repeated_losses(room: str, proxy: Proxy, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), through(proxy, enter("bob")).join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
    watch(alice, bob)
    peer_id = bob.call(SELF)
    for _ in range(3):
        proxy.cut()
        expect_reconnecting(bob)
        proxy.restore()
        expect_reconnected(bob)
        expect(alice.tile("bob")).not_to_contain_text("reconnecting…")
        assert bob.call(SELF) == peer_id
    expect_unbroken_media(alice, bob)


def test_peers_that_joined_and_left_while_away(room: str, proxy: Proxy, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), through(proxy, enter("bob")).join(room)
    for person in (alice, bob):
        person.wait_for_media(1)

    proxy.cut()
    expect_reconnecting(bob)
    expect(alice.tile("bob")).to_contain_text("reconnecting…")
    carol = enter("alice").join(room)
    expect(carol.tile("bob")).to_contain_text("reconnecting…")
    carol.wait_for_media(2, frames=False, packets=False)
    alice.button("Leave").click()
    expect(carol.tiles).to_have_count(2)

    proxy.restore()
    expect_reconnected(bob)
    for person in (bob, carol):
        person.wait_for_media(1)
        expect(person.tiles).to_have_count(2)
    expect(carol.tile("bob")).not_to_contain_text("reconnecting…")


def test_an_ice_restart_while_away_completes_afterwards(
    room: str, proxy: Proxy, enter: Enter
) -> None:
    alice, bob = enter("alice").join(room), through(proxy, enter("bob")).join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
    before = alice.call(UFRAG)

    proxy.cut()
    expect_reconnecting(bob)
    bob.call("[...call.room.peers.values()][0].pc.restartIce()")
    eventually(
        lambda: bob.call("[...call.room.peers.values()][0].pc.signalingState") == "have-local-offer"
    )
    proxy.restore()
    expect_reconnected(bob)
    eventually(lambda: alice.call(UFRAG) != before)
    for person in (alice, bob):
        person.wait_for_media(1)


@pytest.mark.parametrize("code", [4503, 4508])
def test_the_page_resumes_as_the_same_peer_after_a_close(
    room: str, enter: Enter, code: int
) -> None:
    alice, bob = enter("alice").join(room), enter("bob")
    sockets = intercepted(bob)
    bob.join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
    watch(alice, bob)
    peer_id = bob.call(SELF)
    sockets[0].close(code=code)
    # Each query to the page also lets Playwright process events of its sockets.
    eventually(lambda: bob.call("call.session.client.connected") and len(sockets) == 2)
    expect_reconnected(bob)
    expect(bob.tiles).to_have_count(2)
    assert bob.call(SELF) == peer_id
    alice.wait_for_media(1)
    expect_unbroken_media(alice, bob)
