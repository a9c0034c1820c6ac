"""The error texts that users see, and the actions they are offered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Playwright, WebSocketRoute, expect
from websockets.sync.client import connect

from tests.browser.conftest import Enter
from tests.browser.demo import Demo
from tests.browser.person import Person, eventually


def test_an_unknown_code_shows_an_error_and_a_link_home(enter: Enter) -> None:
    alice = enter("alice")
    alice.ask_to_join("NOSUCHROOM")
    expect(
        alice.page.get_by_role("heading", name="There is no room with this code.")
    ).to_be_focused()
    expect(alice.alert.filter(has_text="create the room")).to_be_visible()
    expect(alice.button("Join again")).to_be_hidden()
    assert alice.call("call.session") is None, "the devices are released"

    alice.page.get_by_role("link", name="Back to my rooms").click()
    expect(alice.page.get_by_role("heading", name="My rooms")).to_be_visible()


def test_a_full_room_shows_an_error_and_can_be_joined_later(
    demo: Demo, room: str, enter: Enter
) -> None:
    bob = enter("bob")
    with ExitStack() as peers:
        for _ in range(10):
            peers.enter_context(a_peer(demo, room))
        bob.ask_to_join(room)
        heading = bob.page.get_by_role("heading", name="This room is full (10 people).")
        expect(heading).to_be_visible()
    bob.button("Join again").click()
    expect(bob.button("Leave")).to_be_visible()


@contextmanager
def a_peer(demo: Demo, room: str) -> Iterator[None]:
    protocols: list[Any] = ["signalling.v1", f"bearer.{demo.token('alice')}"]
    with connect(demo.socket_url, subprotocols=protocols) as socket:
        socket.send(json.dumps({"event": "join:room", "data": {"roomCode": room}}))
        assert json.loads(socket.recv(10))["event"] == "room:joined"
        yield


@pytest.mark.parametrize(
    ("code", "heading", "button"),
    [
        (4409, "You have joined this call on another page.", "Join again"),
        (4429, "This page sent too many messages.", "Join again"),
        (4401, "Your sign-in is not valid.", None),
        (4410, "This room has been closed.", None),
    ],
)
def test_a_close_shows_its_reason_and_an_action(
    room: str, enter: Enter, code: int, heading: str, button: str | None
) -> None:
    alice = enter("alice")
    sockets = intercepted(alice)
    alice.join(room)
    sockets[0].close(code=code)
    expect(alice.page.get_by_role("heading", name=heading)).to_be_focused()
    expect(alice.tiles).to_have_count(0)
    if button is None:
        expect(alice.button("Join again")).to_be_hidden()
    else:
        alice.button(button).click()
        expect(alice.tile("alice (you)")).to_be_visible()


def intercepted(person: Person) -> list[WebSocketRoute]:
    """Return the page's sockets, which the test can intercept."""
    sockets: list[WebSocketRoute] = []

    def handle(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    person.page.route_web_socket("**/ws/signalling/", handle)
    return sockets


def test_an_expired_sign_in_leads_to_the_form_and_back(room: str, enter: Enter) -> None:
    alice = enter("alice")
    alice.page.goto(f"{alice.demo.url}/r/{room}/")
    alice.context.clear_cookies(name="sessionid")
    alice.button("Join").click()
    expect(alice.page.get_by_role("heading", name="You are not signed in.")).to_be_visible()
    alice.page.get_by_role("link", name="Sign in").click()
    alice.page.get_by_label("User name").fill("alice")
    alice.page.get_by_label("Password").fill(alice.demo.passwords["alice"])
    alice.button("Sign in").click()
    expect(alice.page.get_by_role("heading", name=f"Room {room}")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "microphone", "camera"),
    [
        ("NotAllowedError", "may not use the microphone", "may not use the camera"),
        ("NotFoundError", "No microphone was found", "No camera was found"),
        ("NotReadableError", "The microphone cannot be used", "The camera cannot be used"),
    ],
)
def test_device_errors_are_distinguished_and_the_call_continues(
    room: str, enter: Enter, name: str, microphone: str, camera: str
) -> None:
    enter("bob").join(room)
    alice = enter("alice")
    alice.page.add_init_script(
        "MediaDevices.prototype.getUserMedia = async () => {"
        f"  throw new DOMException('as a browser would', '{name}');"
        "}"
    )
    alice.join(room)
    expect(alice.alert).to_contain_text(microphone)
    expect(alice.alert).to_contain_text(camera)
    alice.wait_for_media(1)


def test_a_missing_camera_does_not_prevent_audio(room: str, enter: Enter) -> None:
    alice = enter("alice")
    alice.page.add_init_script(
        "const take = MediaDevices.prototype.getUserMedia;"
        "MediaDevices.prototype.getUserMedia = async function (wish) {"
        "  if (wish.video) throw new DOMException('as without a camera', 'NotFoundError');"
        "  return take.call(this, wish);"
        "}"
    )
    alice.join(room)
    expect(alice.alert).to_contain_text("No camera was found")
    assert alice.call("call.session.devices.state") == {"audio": True, "video": False}


def test_an_insecure_origin_is_reported(room: str, enter: Enter) -> None:
    alice = enter("alice")
    alice.page.add_init_script(
        "Object.defineProperty(navigator, 'mediaDevices', {value: undefined})"
    )
    alice.join(room)
    expect(alice.alert).to_contain_text("https")


def test_a_real_permission_denial(
    playwright: Playwright, chromium: str, flags: list[str], room: str, enter: Enter
) -> None:
    strict_flags = [flag for flag in flags if flag != "--use-fake-ui-for-media-stream"]
    with playwright.chromium.launch(executable_path=chromium, args=strict_flags) as strict:
        alice = enter("alice", browser=strict).join(room)
        expect(alice.alert).to_contain_text("may not use the camera")
        expect(alice.alert).to_contain_text("may not use the microphone")
        alice.button("Dismiss").click()
        expect(alice.alert.filter(has_text="camera")).to_be_hidden()


def test_joining_again_while_the_previous_socket_is_closing(room: str, enter: Enter) -> None:
    alice = enter("alice")
    sockets = intercepted(alice)
    alice.join(room)
    alice.button("Leave").click()
    alice.button("Join").click()
    expect(alice.tile("alice (you)")).to_be_visible()
    eventually(lambda: len(sockets) == 2)
    sockets[0].close(code=4503)
    expect(alice.tile("alice (you)")).to_be_visible()
    assert alice.call("call.session.client.connected")
