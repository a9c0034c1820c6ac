"""Participants see and hear each other, and see changes of the others' devices."""

from __future__ import annotations

import os

from playwright.sync_api import expect

from tests.browser.conftest import Enter
from tests.browser.demo import ROOT, Demo
from tests.browser.person import eventually


def test_two_then_three_people_see_and_hear_each_other(demo: Demo, enter: Enter) -> None:
    alice, bob = enter("alice").join(demo.room), enter("bob").join(demo.room)
    for person in (alice, bob):
        person.wait_for_media(1)

    carol = enter("bob").join(demo.room)
    carol.call('call.session.client.request("peer:update", {displayName: "carol"})')
    for person in (alice, bob, carol):
        person.wait_for_media(2)
        expect(person.tiles).to_have_count(3)
    expect(alice.tile("bob")).to_be_visible()
    expect(alice.tile("carol")).to_be_visible()
    if os.environ.get("UPDATE_SCREENSHOTS") == "1":
        alice.context.grant_permissions(["camera", "microphone", "clipboard-write"])
        alice.button("Copy link").click()
        expect(alice.page.get_by_role("status").filter(has_text="Link copied")).to_be_visible()
        alice.page.screenshot(path=ROOT / "docs/images/call.png")

    carol.button("Leave").click()
    expect(carol.button("Join")).to_be_focused()
    expect(alice.tile("carol")).to_have_count(0)
    expect(alice.page.get_by_role("status").filter(has_text="carol left")).to_be_visible()
    alice.wait_for_media(1)

    bob.page.close()
    expect(alice.tiles).to_have_count(1)


def test_a_display_name_is_text_and_cannot_imitate_a_participant(room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    expect(alice.tile("bob")).to_be_visible()

    def rename(name: str) -> None:
        bob.call(f'call.session.client.request("peer:update", {{displayName: "{name}"}})')

    rename("<img src=x onerror='hacked = 1'>")
    name = alice.tile("<img src=x onerror='hacked = 1'>").locator("[data-name]")
    expect(name).to_have_text("<img src=x onerror='hacked = 1'>")
    expect(name).to_have_attribute("title", "bob")
    assert alice.call("document.querySelectorAll('.tile img').length") == 0
    assert alice.call("typeof hacked") == "undefined"

    rename("\\u0430lice")  # Cyrillic
    name = alice.page.locator("[data-name][title=bob]")
    expect(name).to_have_text("\u2068\u0430lice\u2069 (bob)")


def test_mute_is_shown_to_present_and_later_participants(room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    expect(alice.tile("bob")).not_to_contain_text("muted")

    bob.button("Mute microphone").click()
    expect(bob.button("Mute microphone")).to_have_attribute("aria-pressed", "true")
    expect(alice.tile("bob")).to_contain_text("muted")
    expect(enter("alice").join(room).tile("bob")).to_contain_text("muted")

    bob.button("Mute microphone").click()
    expect(bob.button("Mute microphone")).to_have_attribute("aria-pressed", "false")
    expect(alice.tile("bob")).not_to_contain_text("muted")


def test_camera_off_releases_the_device_and_on_sends_frames_again(room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    alice.wait_for_media(1)
    track = 'call.session.devices.video?.readyState ?? "none"'
    assert bob.call(track) == "live"

    bob.button("Turn camera off").click()
    expect(alice.tile("bob")).to_contain_text("camera off")
    expect(alice.tile("bob").locator("video")).to_be_hidden()
    assert bob.call(track) == "none"
    alice.wait_for_media(1, frames=False)

    bob.button("Turn camera off").click()
    expect(alice.tile("bob")).not_to_contain_text("camera off")
    expect(alice.tile("bob").locator("video")).to_be_visible()
    alice.wait_for_media(1)


def test_joining_without_devices_and_turning_them_on_later(room: str, enter: Enter) -> None:
    alice = enter("alice").join(room)
    bob = enter("bob").join(room, microphone=False, camera=False)
    bob.wait_for_media(1)
    expect(alice.tile("bob")).to_contain_text("muted")
    expect(alice.tile("bob")).to_contain_text("camera off")

    bob.button("Turn camera off").click()
    bob.button("Mute microphone").click()
    alice.wait_for_media(1)
    expect(alice.tile("bob")).not_to_contain_text("muted")


def test_copy_link(room: str, enter: Enter) -> None:
    alice = enter(
        "alice", permissions=["camera", "microphone", "clipboard-read", "clipboard-write"]
    ).join(room)
    alice.button("Copy link").click()
    expect(alice.page.get_by_role("status").filter(has_text="Link copied")).to_be_visible()
    copied = alice.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == f"{alice.demo.url}/r/{room}/"


def test_a_connection_whose_ice_fails_is_restarted(room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob").join(room)
    alice.wait_for_media(1)
    ufrag = "[...call.room.peers.values()][0].pc.localDescription.sdp.match(/ice-ufrag:(.*)/)[1]"
    before = alice.call(ufrag)
    # Both at once, as after a network failure on both sides: the offers collide.
    for person in (alice, bob):
        person.call("[...call.room.peers.values()][0].pc.restartIce()")
    eventually(lambda: alice.call(ufrag) != before)
    for person in (alice, bob):
        person.wait_for_media(1)
