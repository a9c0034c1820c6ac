"""Sign in, list rooms, create a room and enter a code, through the forms."""

from __future__ import annotations

import os
import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Enter
from tests.browser.demo import ROOT, Demo


def test_a_link_to_a_room_leads_to_the_call_after_signing_in(demo: Demo, browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{demo.url}/r/abc123/")
        page.get_by_label("User name").fill("bob")
        page.get_by_label("Password").fill("not this one")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("Password").fill(demo.passwords["bob"])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Demo room")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_create_a_room_and_join_it_with_its_code(enter: Enter) -> None:
    alice, bob = enter("alice"), enter("bob")
    page = alice.page
    page.goto(alice.demo.url)
    page.get_by_label("Name (optional)").fill("Board <meeting>")
    page.get_by_label("Code (optional)").fill("board-1")
    alice.button("Create room").click()
    expect(page.get_by_role("heading", name="Board <meeting>")).to_be_visible()
    alice.button("Join").click()
    expect(alice.button("Leave")).to_be_visible()

    bob.page.goto(bob.demo.url)
    bob.page.get_by_label("Room code").fill(" board-1 ")
    bob.button("Go to room").click()
    bob.button("Join").click()
    alice.wait_for_media(1)

    second = alice.context.new_page()
    second.goto(alice.demo.url)
    entry = second.get_by_role("listitem").filter(has_text="Board <meeting>")
    expect(entry).to_contain_text(re.compile(r"BOARD-1 · 2 in the call"))


def test_leaving_a_call_returns_to_the_page_that_linked_to_it(room: str, enter: Enter) -> None:
    alice = enter("alice")
    alice.page.goto(f"{alice.demo.url}/r/{room}/?next=/%3Fcode%3Dtea")
    alice.button("Join").click()
    alice.button("Leave").click()
    expect(alice.page).to_have_url(f"{alice.demo.url}/r/TEA/")  # where /?code=tea leads


def test_the_documented_theme_changes_the_pages(enter: Enter) -> None:
    (theme,) = re.findall(r"```css\n(.*?)```", (ROOT / "docs/embedding.md").read_text(), re.DOTALL)
    alice = enter("alice", bypass_csp=True, viewport={"width": 720, "height": 420})
    alice.page.goto(f"{alice.demo.url}/r/ABC123/")
    alice.page.add_style_tag(content=theme)
    expect(alice.button("Join")).to_have_css("background-color", "rgb(122, 31, 92)")
    expect(alice.button("Join")).to_have_css("border-radius", "0px")
    if os.environ.get("UPDATE_SCREENSHOTS") == "1":
        alice.page.screenshot(path=ROOT / "docs/images/theme.png")


def test_the_call_page_speaks_german(room: str, enter: Enter) -> None:
    anna = enter("alice", locale="de-DE")
    anna.page.goto(f"{anna.demo.url}/r/{room}/")
    anna.button("Beitreten").click()
    expect(anna.tile("alice (Sie)")).to_be_visible()
    expect(anna.page.get_by_role("status").first).to_contain_text(
        "Außer Ihnen ist noch niemand hier"
    )
    enter("bob").join(room)
    expect(anna.tile("bob")).to_contain_text("direkt")
    anna.page.goto(f"{anna.demo.url}/r/NOWHERE/")
    anna.button("Beitreten").click()
    expect(anna.page.get_by_role("alert")).to_contain_text("Prüfen Sie den Code")


def test_code_errors_are_shown_at_the_field(enter: Enter) -> None:
    alice = enter("alice")
    alice.page.goto(alice.demo.url)
    alice.page.get_by_label("Code (optional)").fill("ABC123")
    alice.button("Create room").click()
    expect(alice.alert).to_contain_text("taken")
    expect(alice.page.get_by_label("Code (optional)")).to_have_value("ABC123")
    alice.page.get_by_label("Room code").fill("no/such/form")
    alice.button("Go to room").click()
    expect(alice.alert).to_contain_text("letters, digits")


def test_security_headers_of_the_call_page(demo: Demo, enter: Enter) -> None:
    response = enter("alice").page.goto(f"{demo.url}/r/ABC123/")
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "camera=(self)" in response.headers["permissions-policy"]


def test_the_call_page_fits_a_phone(room: str, enter: Enter) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    alice = enter("alice", **phone).join(room)
    enter("bob").join(room)
    alice.wait_for_media(1)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert alice.page.evaluate(overflow) == 0
    for name in ("Mute microphone", "Turn camera off", "Copy link", "Leave"):
        expect(alice.button(name)).to_be_in_viewport()


# Shows this many other participants.
MANY_TILES = """async (size) => {
  const {Tile} = await import("/static/signalling/page/tile.js");
  const {screen, session} = document.querySelector("[data-call]").call;
  for (let number = 0; number < size; number += 1) {
    const name = number % 5 ? `peer ${number}` : "Someone with a name longer than any tile on a phone";
    const media = {audio: false, video: number % 2 === 0};
    const {stream} = session.devices;
    const state = {state: "connecting", away: false, path: "sfu"};
    const tile = new Tile(screen.tile, {id: `peer_${number}`, name, media, stream, ...state});
    tile.video.muted = true;
    screen.stage.append(tile.figure);
  }
}"""

# Tiles that are too small or mostly hidden by their caption, and a page that is too wide.
LAYOUT_PROBLEMS = """() => {
  const {scrollWidth, clientWidth} = document.documentElement;
  const problems = scrollWidth > clientWidth ? ["the page is too wide"] : [];
  for (const figure of document.querySelectorAll("figure")) {
    const {width, height, right} = figure.getBoundingClientRect();
    const caption = figure.querySelector("figcaption").clientHeight;
    if (width < 100 || right > clientWidth) problems.push(`a tile of ${width}`);
    if (caption > 0.75 * height) problems.push(`a caption of ${caption} in ${height}`);
  }
  return problems;
}"""


@pytest.mark.parametrize("size", [11, 24, 49])
@pytest.mark.parametrize("width", [360, 1280])
def test_many_tiles_fit(room: str, enter: Enter, size: int, width: int) -> None:
    alice = enter("alice", viewport={"width": width, "height": 800}).join(room, camera=False)
    alice.page.evaluate(MANY_TILES, size)
    expect(alice.tiles).to_have_count(size + 1)
    assert alice.page.evaluate(LAYOUT_PROBLEMS) == []
    for name in ("Mute microphone", "Turn camera off", "Copy link", "Leave"):
        expect(alice.button(name)).to_be_in_viewport()
