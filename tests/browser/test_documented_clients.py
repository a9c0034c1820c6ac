"""The clients in docs/client.md, exactly as they are printed there, call our page."""

from __future__ import annotations

import re
from pathlib import Path

from tests.browser.conftest import Enter
from tests.browser.person import Person

DOCUMENT = Path(__file__).parents[2] / "docs/client.md"
PLAYS = "[...document.querySelectorAll('video')].some((video) => video.videoWidth > 0)"


def documented_client(heading: str) -> str:
    """Return the JavaScript in a section of the document."""
    sections = DOCUMENT.read_text().split("\n## ")
    (text,) = (section for section in sections if section.startswith(heading))
    (client,) = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    return str(client)


def run(person: Person, client: str, room: str) -> None:
    """Run a client in the console of a page, for this server, user and room."""
    client = client.replace("http://127.0.0.1:8000", person.demo.url).replace("ABC123", room)
    client = client.replace("ws://127.0.0.1:8000/ws/signalling/", person.demo.socket_url)
    client = client.replace('password: "…"', f'password: "{person.demo.passwords["bob"]}"')
    # A console evaluates a script, which imports modules only dynamically.
    client = re.sub(r'import (\{.*?\}) from (".*?")', r"const \1 = await import(\2)", client)
    person.page.goto(person.demo.url)
    person.page.evaluate(f"async () => {{ {client} }}")


def test_the_client_in_20_lines(room: str, enter: Enter) -> None:
    client = documented_client("A complete client in 20 lines")
    assert len(client.splitlines()) <= 20
    alice, bob = enter("alice").join(room), enter("bob")
    run(bob, client, room)
    alice.wait_for_media(1)
    bob.page.wait_for_function(PLAYS)


def test_the_client_of_the_library(room: str, enter: Enter) -> None:
    alice, bob = enter("alice").join(room), enter("bob")
    run(bob, documented_client("The JavaScript library"), room)
    alice.wait_for_media(1)
    bob.page.wait_for_function(PLAYS)
