"""A room that outgrows its mesh moves to the SFU and back. No peer disappears or is shown twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, StorageState, expect

from tests.browser.conftest import Enter, sign_in
from tests.browser.demo import Demo
from tests.browser.network import proxy_to
from tests.browser.person import Person, eventually
from tests.browser.test_resume import SELF, expect_reconnected, expect_reconnecting, through
from tests.browser.test_simple_client import has_media_from_all, simple_client

LOST = "Media server unavailable. Reconnecting…"

# Records what a viewer would notice: a peer shown twice, or a frozen video. With a new stream the clock of
# a <video> starts over, which counts as a change.
WATCH = """() => {
  const seen = new Map();
  const watch = (window.watch = {longest: 0, samples: 0, twice: []});
  const sample = () => {
    const now = performance.now();
    const figures = [...document.querySelectorAll("figure[data-path]")];
    const ids = figures.map(({dataset}) => dataset.peerId);
    if (new Set(ids).size < ids.length) watch.twice.push(ids);
    for (const figure of figures) {
      const {currentTime} = figure.querySelector("video");
      const last = seen.get(figure);
      if (!last && !currentTime) continue; // just joined
      if (last?.currentTime === currentTime) watch.longest = Math.max(watch.longest, now - last.since);
      else seen.set(figure, {currentTime, since: now});
    }
    watch.samples += 1;
    setTimeout(sample, 100);
  };
  sample();
}"""

MAX_GAP = 3_000  # milliseconds: more than a busy machine causes, less than a new connection takes


@pytest.fixture(scope="module")
def sign_ins(sfu_demo: Demo, browser: Browser) -> dict[str, StorageState]:
    return {username: sign_in(sfu_demo, browser, username) for username in sfu_demo.passwords}


@pytest.fixture
def enter(sfu_demo: Demo, browser: Browser, sign_ins: dict[str, StorageState]) -> Iterator[Enter]:
    """Return a function that creates a person at the site with an SFU."""
    people: list[Person] = []

    def enter(username: str, **options: Any) -> Person:
        context = browser.new_context(storage_state=sign_ins[username], **options)
        people.append(Person(sfu_demo, username, context))
        return people[-1]

    yield enter
    for person in people:
        person.context.close()
    assert [error for person in people for error in person.errors] == []


@pytest.fixture
def room(sfu_demo: Demo) -> str:
    """Create a room whose mesh has room for two peers."""
    return sfu_demo.open_room(p2p_limit=2)


def rename(person: Person, name: str) -> Person:
    """Change the display name, to distinguish persons of the same user."""
    person.call(f'call.session.client.request("peer:update", {{displayName: "{name}"}})')
    return person


def expect_paths(person: Person, path: str, others: int) -> None:
    words = {"mesh": "direct", "sfu": "via server"}[path]
    expect(person.page.locator(f'figure[data-path="{path}"]')).to_have_count(others)
    expect(person.page.locator("figure[data-path]").filter(has_text=words)).to_have_count(others)
    expect(person.tiles).to_have_count(others + 1)


def expect_value(person: Person, expression: str, value: object) -> None:
    eventually(lambda: person.call(f"({expression}) ?? null") == value)


def watch(*people: Person) -> None:
    for person in people:
        person.page.evaluate(WATCH)


def expect_smooth_video(*people: Person) -> None:
    for person in people:
        seen: dict[str, Any] = person.page.evaluate("() => window.watch")
        assert seen["samples"] > 0
        assert seen["twice"] == []
        assert seen["longest"] < MAX_GAP


def three_in_sfu_mode(enter: Enter, room: str) -> list[Person]:
    people = [enter("alice").join(room), enter("bob").join(room), enter("bob").join(room)]
    rename(people[2], "carol")
    for person in people:
        expect_paths(person, "sfu", 2)
        person.wait_for_media(2)
    return people


def test_the_third_participant_moves_the_room_to_the_sfu(room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
        expect_paths(person, "mesh", 1)
    watch(alice, bob)

    carol = rename(enter("bob").join(room), "carol")
    for person in (alice, bob, carol):
        expect_paths(person, "sfu", 2)
        person.wait_for_media(2)
        expect_value(person, "call.room.peers.size", 0)
        expect(person.alert).to_be_hidden()
    watch(carol)

    dave = rename(enter("alice").join(room), "dave")
    for person in (alice, bob, carol, dave):
        expect_paths(person, "sfu", 3)
        person.wait_for_media(3)
    expect_smooth_video(alice, bob, carol)


def test_a_participant_leaves_sfu_mode(room: str, enter: Enter) -> None:
    alice, bob, carol = three_in_sfu_mode(enter, room)
    watch(alice)
    carol.button("Leave").click()
    for person in (alice, bob):
        expect(person.tile("carol")).to_have_count(0)
        expect(person.tiles).to_have_count(2)
        person.wait_for_media(1)
    expect_smooth_video(alice)


def test_camera_off_and_on_in_sfu_mode(room: str, enter: Enter) -> None:
    alice, bob, carol = three_in_sfu_mode(enter, room)
    carol.button("Turn camera off").click()
    for person in (alice, bob):
        expect(person.tile("carol")).to_contain_text("camera off")
        expect(person.tile("carol").locator("video")).to_be_hidden()
    carol.button("Turn camera off").click()
    for person in (alice, bob):
        expect(person.tile("carol").locator("video")).to_be_visible()
        person.wait_for_media(2)


def test_turning_devices_on_later_in_sfu_mode(room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    carol = rename(enter("bob").join(room, microphone=False, camera=False), "carol")
    for person in (alice, bob, carol):
        expect_paths(person, "sfu", 2)
    carol.wait_for_media(2)
    carol.button("Turn camera off").click()
    carol.button("Mute microphone").click()
    for person in (alice, bob):
        person.wait_for_media(2)


def test_a_socket_loss_does_not_affect_media(sfu_demo: Demo, room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    with proxy_to(sfu_demo) as proxy:
        carol = rename(through(proxy, enter("bob")).join(room), "carol")
        for person in (alice, bob, carol):
            expect_paths(person, "sfu", 2)
            person.wait_for_media(2)
        watch(alice, carol)
        peer_id = carol.call(SELF)
        # The receiving connection may be replaced: the server does not know which messages were lost.
        ufrag = "call.room.sfu.publisher.pc.localDescription.sdp.match(/ice-ufrag:(.*)/)[1]"
        before = carol.call(ufrag)

        proxy.cut()
        expect_reconnecting(carol)
        carol.wait_for_media(2)
        proxy.restore()
        expect_reconnected(carol)
        for person in (alice, bob, carol):
            person.wait_for_media(2)
        assert carol.call(SELF) == peer_id
        assert carol.call(ufrag) == before
        expect_smooth_video(alice, carol)


def test_peers_that_join_and_leave_while_one_is_away(
    sfu_demo: Demo, room: str, enter: Enter
) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    with proxy_to(sfu_demo) as proxy:
        carol = rename(through(proxy, enter("bob")).join(room), "carol")
        for person in (alice, bob, carol):
            expect_paths(person, "sfu", 2)
        proxy.cut()
        expect_reconnecting(carol)
        dave = rename(enter("alice").join(room), "dave")
        dave.wait_for_media(3)
        bob.button("Leave").click()
        proxy.restore()
        expect_reconnected(carol)
        for person in (alice, carol, dave):
            expect(person.tiles).to_have_count(3)
            person.wait_for_media(2)


def test_a_simple_client_stays_in_a_mesh_with_each_peer(room: str, enter: Enter) -> None:
    alice, bob, carol = three_in_sfu_mode(enter, room)
    simple = simple_client(enter("bob"), room, offers=True)
    for person in (alice, bob, carol):
        person.wait_for_media(3)
        expect(person.page.locator('figure[data-path="sfu"]')).to_have_count(2)
        expect(person.page.locator('figure[data-path="mesh"]')).to_have_count(1)
    # Once from each: offers from the SFU would add the same peers again.
    eventually(lambda: has_media_from_all(simple, 3))


def test_mesh_bitrate_is_limited_by_its_size(sfu_demo: Demo, enter: Enter) -> None:
    room = sfu_demo.open_room(p2p_limit=3)
    cap = (
        "[...call.room.peers.values()][0].pc.getTransceivers()"
        '.find(({receiver}) => receiver.track.kind === "video").sender.getParameters()'
        ".encodings[0].maxBitrate"
    )
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
    of_two = alice.call(cap)
    assert bob.call(cap) == of_two > 0
    carol = enter("bob").join(room)
    carol.wait_for_media(2)
    eventually(lambda: 0 < alice.call(cap) < of_two)
    carol.button("Leave").click()
    eventually(lambda: alice.call(cap) == of_two)


# Allows only relay candidates, of which there are none: as behind a strict firewall.
SFU_UNREACHABLE = """
  const Connection = RTCPeerConnection;
  window.RTCPeerConnection = class extends Connection {
    constructor(options) {
      super(options?.bundlePolicy ? {...options, iceTransportPolicy: "relay"} : options);
    }
  };
"""


def test_a_failed_switch_is_rolled_back_and_the_last_participant_is_removed(
    room: str, enter: Enter
) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
    watch(alice, bob)
    connection = (
        "[...call.room.peers.values()][0].pc.localDescription.sdp.match(/ice-ufrag:(.*)/)[1]"
    )
    before = alice.call(connection)
    carol = enter("bob")
    carol.page.add_init_script(SFU_UNREACHABLE)
    carol.join(room)
    heading = carol.page.get_by_role("heading", name="Large calls are not available right now.")
    expect(heading).to_be_focused(timeout=30_000)
    expect(carol.button("Join again")).to_be_visible()
    for person in (alice, bob):
        expect_paths(person, "mesh", 1)
        person.wait_for_media(1)
        expect_value(person, "call.room.sfu", None)
    assert alice.call(connection) == before
    expect_smooth_video(alice, bob)


# These run last: they kill the SFU, and the server needs time to detect its return.


def test_a_larger_room_shows_that_the_sfu_is_down_and_recovers(
    sfu_demo: Demo, room: str, enter: Enter
) -> None:
    people = three_in_sfu_mode(enter, room)
    sfu_demo.kill_janus()
    try:
        for person in people:
            expect(person.page.get_by_text(LOST, exact=True)).to_be_visible()
            expect(person.tiles).to_have_count(3)
    finally:
        sfu_demo.start_janus()
    for person in people:
        expect(person.page.get_by_text(LOST, exact=True)).to_have_count(0, timeout=60_000)
        expect_paths(person, "sfu", 2)
        person.wait_for_media(2)


def test_a_small_room_returns_to_a_mesh_when_the_sfu_is_down(sfu_demo: Demo, enter: Enter) -> None:
    room = sfu_demo.open_room(p2p_limit=2)
    alice, bob, carol = three_in_sfu_mode(enter, room)
    carol.button("Leave").click()
    expect(alice.tiles).to_have_count(2)
    sfu_demo.kill_janus()
    try:
        for person in (alice, bob):
            expect_paths(person, "mesh", 1)
            person.wait_for_media(1)
            expect_value(person, "call.room.sfu", None)
    finally:
        sfu_demo.start_janus()
