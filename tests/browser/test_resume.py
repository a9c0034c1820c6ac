"""A call outlives the sockets of its signalling: the media goes on, and everybody stays who they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Enter
from tests.browser.demo import Demo
from tests.browser.network import Line, line_to
from tests.browser.person import Person, eventually
from tests.browser.test_errors import intercepted

# What is the matter with the video of each peer that is there now: a time without a new frame, a
# counter that began anew. The time is only counted where two looks saw the same number: a busy machine
# looks late, too.
WATCH = """() => {
  const {call} = document.querySelector("[data-call]");
  const now = () => performance.now();
  const seen = new Map([...call.room.peers].map(([id, {pc}]) => [id, {pc, frames: 0, since: now()}]));
  const watch = (window.watch = {longest: 0, looks: 0, problems: []});
  const isVideo = ({type, kind}) => type === "inbound-rtp" && kind === "video";
  const framesOf = async (pc) => [...(await pc.getStats()).values()].find(isVideo)?.framesDecoded;
  const look = async () => {
    for (const [id, last] of seen) {
      if (call.room.peers.get(id)?.pc !== last.pc) watch.problems.push("another connection");
      const frames = (await framesOf(last.pc)) ?? 0;
      if (frames < last.frames) watch.problems.push("the counter began anew");
      if (frames === last.frames) watch.longest = Math.max(watch.longest, now() - last.since);
      else Object.assign(last, {frames, since: now()});
    }
    watch.looks += 1;
    setTimeout(look, 100);
  };
  look();
}"""

STILL = 2_000  # milliseconds: more than a hiccup of the machine, less than any new connection takes
SELF = "call.session.membership.peerId"
UFRAG = "[...call.room.peers.values()][0].pc.localDescription.sdp.match(/ice-ufrag:(.*)/)[1]"


@pytest.fixture
def line(demo: Demo) -> Iterator[Line]:
    with line_to(demo) as line:
        yield line


def behind(line: Line, person: Person) -> Person:
    person.demo = line.demo
    return person


def watch(*people: Person) -> None:
    for person in people:
        person.page.evaluate(WATCH)


def expect_unbroken_media(*people: Person) -> None:
    for person in people:
        # A peer may be back before the page has looked so often: once in 100 ms.
        eventually(lambda person=person: person.page.evaluate("() => window.watch.looks") > 5)  # type: ignore[misc]
        seen: dict[str, Any] = person.page.evaluate("() => window.watch")
        assert seen["problems"] == []
        assert seen["longest"] < STILL


def expect_away(person: Person) -> None:
    expect(person.page.get_by_text("Reconnecting…", exact=True)).to_be_visible()


def expect_back(person: Person) -> None:
    expect(person.page.get_by_text("Reconnecting…", exact=True)).to_have_count(0)
    assert person.call("call.session.client.connected")


def test_the_media_goes_on_while_the_signalling_of_one_is_away(
    room: str, line: Line, enter: Enter
) -> None:
    alice, bob = enter("alice").join(room), behind(line, enter("bob")).join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
    watch(alice, bob)
    peer_id = bob.call(SELF)

    line.cut()
    expect_away(bob)
    expect(alice.tile("bob")).to_contain_text("reconnecting…")
    for person in (alice, bob):
        person.wait_for_media(1)
        expect(person.tiles).to_have_count(2)
        expect(person.alert).to_be_hidden()
    bob.button("Mute microphone").click()

    line.mend()
    expect_back(bob)
    expect(alice.tile("bob")).not_to_contain_text("reconnecting…")
    expect(alice.tile("bob")).to_contain_text("muted")
    assert bob.call(SELF) == peer_id
    for person in (alice, bob):
        person.wait_for_media(1)
    expect_unbroken_media(alice, bob)


def test_one_loss_after_the_other(room: str, line: Line, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), behind(line, enter("bob")).join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
    watch(alice, bob)
    peer_id = bob.call(SELF)
    for _ in range(3):
        line.cut()
        expect_away(bob)
        line.mend()
        expect_back(bob)
        expect(alice.tile("bob")).not_to_contain_text("reconnecting…")
        assert bob.call(SELF) == peer_id
    expect_unbroken_media(alice, bob)


def test_who_went_and_who_came_meanwhile(room: str, line: Line, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), behind(line, enter("bob")).join(room)
    for person in (alice, bob):
        person.wait_for_media(1)

    line.cut()
    expect_away(bob)
    expect(alice.tile("bob")).to_contain_text("reconnecting…")
    carol = enter("alice").join(room)
    expect(carol.tile("bob")).to_contain_text("reconnecting…")
    carol.wait_for_media(2, frames=False, packets=False)
    alice.button("Leave").click()
    expect(carol.tiles).to_have_count(2)

    line.mend()
    expect_back(bob)
    for person in (bob, carol):
        person.wait_for_media(1)
        expect(person.tiles).to_have_count(2)
    expect(carol.tile("bob")).not_to_contain_text("reconnecting…")


def test_an_ice_restart_of_the_time_away_is_made_after_it(
    room: str, line: Line, enter: Enter
) -> None:
    alice, bob = enter("alice").join(room), behind(line, enter("bob")).join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
    before = alice.call(UFRAG)

    line.cut()
    expect_away(bob)
    bob.call("[...call.room.peers.values()][0].pc.restartIce()")
    eventually(
        lambda: bob.call("[...call.room.peers.values()][0].pc.signalingState") == "have-local-offer"
    )
    line.mend()
    expect_back(bob)
    eventually(lambda: alice.call(UFRAG) != before)
    for person in (alice, bob):
        person.wait_for_media(1)


@pytest.mark.parametrize("code", [4503, 4508])
def test_after_a_close_that_invites_back_the_page_comes_back_as_the_same_peer(
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
    # Asking the page each time also lets Playwright tell us of the page's sockets.
    eventually(lambda: bob.call("call.session.client.connected") and len(sockets) == 2)
    expect_back(bob)
    expect(bob.tiles).to_have_count(2)
    assert bob.call(SELF) == peer_id
    alice.wait_for_media(1)
    expect_unbroken_media(alice, bob)
