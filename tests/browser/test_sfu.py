"""More people than a mesh can bear: a room goes to the SFU and back; nobody is lost or shown twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, StorageState, expect

from tests.browser.conftest import Enter, sign_in
from tests.browser.demo import Demo
from tests.browser.network import line_to
from tests.browser.person import Person, eventually
from tests.browser.test_resume import SELF, behind, expect_away, expect_back
from tests.browser.test_seed_client import has_media_from_all, seed_client

LOST = "Media server unavailable. Reconnecting…"

# What a viewer would complain of: somebody who is there twice, and a picture that stands still. The clock
# of a <video> begins anew with another stream, which is a change like any other.
WATCH = """() => {
  const seen = new Map();
  const watch = (window.watch = {longest: 0, looks: 0, twice: []});
  const look = () => {
    const now = performance.now();
    const figures = [...document.querySelectorAll("figure[data-path]")];
    const ids = figures.map(({dataset}) => dataset.peerId);
    if (new Set(ids).size < ids.length) watch.twice.push(ids);
    for (const figure of figures) {
      const {currentTime} = figure.querySelector("video");
      const last = seen.get(figure);
      if (!last && !currentTime) continue; // they have only just come
      if (last?.currentTime === currentTime) watch.longest = Math.max(watch.longest, now - last.since);
      else seen.set(figure, {currentTime, since: now});
    }
    watch.looks += 1;
    setTimeout(look, 100);
  };
  look();
}"""

STILL = 3_000  # milliseconds: more than a hiccup of a busy machine, less than what is rebuilt takes


@pytest.fixture(scope="module")
def sign_ins(sfu_demo: Demo, browser: Browser) -> dict[str, StorageState]:
    return {username: sign_in(sfu_demo, browser, username) for username in sfu_demo.passwords}


@pytest.fixture
def enter(sfu_demo: Demo, browser: Browser, sign_ins: dict[str, StorageState]) -> Iterator[Enter]:
    """Return a function that gives a person at the site that has an SFU."""
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
    """Have a room whose third peer is one too many for its mesh."""
    return sfu_demo.open_room(p2p_limit=2)


def called(person: Person, name: str) -> Person:
    """Tell people of the same user apart."""
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


def expect_nothing_to_complain_of(*people: Person) -> None:
    for person in people:
        seen: dict[str, Any] = person.page.evaluate("() => window.watch")
        assert seen["looks"] > 0
        assert seen["twice"] == []
        assert seen["longest"] < STILL


def three_in_the_sfu(enter: Enter, room: str) -> list[Person]:
    people = [enter("alice").join(room), enter("bob").join(room), enter("bob").join(room)]
    called(people[2], "carol")
    for person in people:
        expect_paths(person, "sfu", 2)
        person.wait_for_media(2)
    return people


def test_people_come_one_by_one_and_the_third_moves_all_to_the_sfu(room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    for person in (alice, bob):
        person.wait_for_media(1)
        expect_paths(person, "mesh", 1)
    watch(alice, bob)

    carol = called(enter("bob").join(room), "carol")
    for person in (alice, bob, carol):
        expect_paths(person, "sfu", 2)
        person.wait_for_media(2)
        expect_value(person, "call.room.peers.size", 0)
        expect(person.alert).to_be_hidden()
    watch(carol)

    dave = called(enter("alice").join(room), "dave")
    for person in (alice, bob, carol, dave):
        expect_paths(person, "sfu", 3)
        person.wait_for_media(3)
    expect_nothing_to_complain_of(alice, bob, carol)


def test_who_leaves_is_gone_and_the_others_go_on(room: str, enter: Enter) -> None:
    alice, bob, carol = three_in_the_sfu(enter, room)
    watch(alice)
    carol.button("Leave").click()
    for person in (alice, bob):
        expect(person.tile("carol")).to_have_count(0)
        expect(person.tiles).to_have_count(2)
        person.wait_for_media(1)
    expect_nothing_to_complain_of(alice)


def test_a_camera_goes_off_and_on_through_the_sfu(room: str, enter: Enter) -> None:
    alice, bob, carol = three_in_the_sfu(enter, room)
    carol.button("Turn camera off").click()
    for person in (alice, bob):
        expect(person.tile("carol")).to_contain_text("camera off")
        expect(person.tile("carol").locator("video")).to_be_hidden()
    carol.button("Turn camera off").click()
    for person in (alice, bob):
        expect(person.tile("carol").locator("video")).to_be_visible()
        person.wait_for_media(2)


def test_a_listener_can_turn_devices_on_later(room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    carol = called(enter("bob").join(room, microphone=False, camera=False), "carol")
    for person in (alice, bob, carol):
        expect_paths(person, "sfu", 2)
    carol.wait_for_media(2)
    carol.button("Turn camera off").click()
    carol.button("Mute microphone").click()
    for person in (alice, bob):
        person.wait_for_media(2)


def test_the_loss_of_a_socket_changes_nothing_of_the_media(
    sfu_demo: Demo, room: str, enter: Enter
) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    with line_to(sfu_demo) as line:
        carol = called(behind(line, enter("bob")).join(room), "carol")
        for person in (alice, bob, carol):
            expect_paths(person, "sfu", 2)
            person.wait_for_media(2)
        watch(alice, carol)
        peer_id = carol.call(SELF)
        # What it receives may come on another connection: the server does not know what was not heard.
        ufrag = "call.room.sfu.publisher.pc.localDescription.sdp.match(/ice-ufrag:(.*)/)[1]"
        before = carol.call(ufrag)

        line.cut()
        expect_away(carol)
        carol.wait_for_media(2)
        line.mend()
        expect_back(carol)
        for person in (alice, bob, carol):
            person.wait_for_media(2)
        assert carol.call(SELF) == peer_id
        assert carol.call(ufrag) == before
        expect_nothing_to_complain_of(alice, carol)


def test_who_comes_and_goes_while_one_is_away_is_known_when_they_are_back(
    sfu_demo: Demo, room: str, enter: Enter
) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    with line_to(sfu_demo) as line:
        carol = called(behind(line, enter("bob")).join(room), "carol")
        for person in (alice, bob, carol):
            expect_paths(person, "sfu", 2)
        line.cut()
        expect_away(carol)
        dave = called(enter("alice").join(room), "dave")
        dave.wait_for_media(3)
        bob.button("Leave").click()
        line.mend()
        expect_back(carol)
        for person in (alice, carol, dave):
            expect(person.tiles).to_have_count(3)
            person.wait_for_media(2)


def test_a_client_of_the_seed_is_in_a_mesh_with_each(room: str, enter: Enter) -> None:
    alice, bob, carol = three_in_the_sfu(enter, room)
    seed = seed_client(enter("bob"), room, offers=True)
    for person in (alice, bob, carol):
        person.wait_for_media(3)
        expect(person.page.locator('figure[data-path="sfu"]')).to_have_count(2)
        expect(person.page.locator('figure[data-path="mesh"]')).to_have_count(1)
    # From each once: what the SFU offers would be the same people again.
    eventually(lambda: has_media_from_all(seed, 3))


def test_what_a_mesh_sends_is_capped_by_its_size(sfu_demo: Demo, enter: Enter) -> None:
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


# Without a relay none of its candidates may be used: as behind a firewall that lets nobody through.
NO_WAY_TO_THE_SFU = """
  const Connection = RTCPeerConnection;
  window.RTCPeerConnection = class extends Connection {
    constructor(options) {
      super(options?.bundlePolicy ? {...options, iceTransportPolicy: "relay"} : options);
    }
  };
"""


def test_a_switch_that_fails_is_taken_back_and_who_was_one_too_many_is_told(
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
    carol.page.add_init_script(NO_WAY_TO_THE_SFU)
    carol.join(room)
    heading = carol.page.get_by_role("heading", name="Large calls are not available right now.")
    expect(heading).to_be_focused(timeout=30_000)
    expect(carol.button("Join again")).to_be_visible()
    for person in (alice, bob):
        expect_paths(person, "mesh", 1)
        person.wait_for_media(1)
        expect_value(person, "call.room.sfu", None)
    assert alice.call(connection) == before
    expect_nothing_to_complain_of(alice, bob)


# The last ones: they cost the SFU its life, and the server takes its time to know it again.


def test_when_the_sfu_dies_under_a_larger_room_all_are_told_and_it_goes_on_when_it_is_back(
    sfu_demo: Demo, room: str, enter: Enter
) -> None:
    people = three_in_the_sfu(enter, room)
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


def test_when_the_sfu_dies_a_room_that_fits_goes_back_to_a_mesh(
    sfu_demo: Demo, enter: Enter
) -> None:
    room = sfu_demo.open_room(p2p_limit=2)
    alice, bob, carol = three_in_the_sfu(enter, room)
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
