"""The code in docs/embedding.md is that of the example site, and works in a new project."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.dispatch import Signal

from rooms import services, signals
from rooms.models import Room
from tests.conftest import Enter
from tests.documents import ROOT, rows, section
from tests.test_readme import project, run

__all__ = ["project"]

SITE = ROOT / "examples" / "existing_site"
LIMITS = {"Signalling only": 20, "A call page per appointment": 35, "The call inside your page": 5}
BLOCK = re.compile(r"^```\w+\n# ([\w/.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(heading: str, part: str = "") -> list[tuple[str, str]]:
    """Return the files and the code of a section, or of one of its parts."""
    text = section("docs/embedding.md", heading)
    if part:
        text = re.split(rf"^### {re.escape(part)}$", text, flags=re.MULTILINE)[1]
        text = text.split("\n### ")[0]
    return [(match[1], match[2]) for match in BLOCK.finditer(text)]


def code(text: str) -> list[str]:
    """Return the lines of code, without comments."""
    lines = (re.sub(r"  #.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("part", LIMITS)
def test_the_three_ways_are_the_code_of_the_example_site(part: str) -> None:
    for path, text in blocks("Three ways to use it", part):
        name = path.removeprefix("appointments/") if path.endswith(".html") else path
        file = SITE / ("appointments/" + name if path.endswith(".html") else path)
        existing = code(file.read_text())
        missing = [line for line in code(text) if "..." not in line and line not in existing]
        assert missing == [], f"not in {file}"


def test_the_three_ways_have_the_documented_number_of_lines() -> None:
    counts = [
        sum(len(code(text)) for _, text in blocks("Three ways to use it", part)) for part in LIMITS
    ]
    totals = [counts[0], counts[0] + counts[1], counts[2]]
    documented = [row[1] for row in rows("docs/embedding.md", "Three ways to use it")]
    assert documented == [str(totals[0]), str(totals[1]), f"{totals[1]} + {totals[2]}"]
    assert all(total <= limit for total, limit in zip(totals, LIMITS.values(), strict=True))
    assert f"a call page in {totals[1]} lines" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", ["conftest.py", "test_calls.py"])
def test_the_tests_are_those_of_the_example_site(path: str) -> None:
    assert dict(blocks("Tests of your site"))[path] == (SITE / "tests" / path).read_text()


# --- The Python API -------------------------------------------------------------------------


def test_the_services_are_documented_with_their_parameters() -> None:
    text = section("docs/embedding.md", "Rooms from your own code")
    documented = re.findall(r"^\| `(\w+)\((.*)\)` \|", text, re.MULTILINE)
    for name, parameters in documented:
        known = list(inspect.signature(getattr(services, name)).parameters)
        assert parameters.split(", ") == known[: len(parameters.split(", "))], name
    public = {
        name
        for name, function in vars(services).items()
        if inspect.isfunction(function)
        and function.__module__ == services.__name__
        and not name.startswith("_")
    }
    of_sockets = {"join", "leave", "update_participant"}
    assert {name for name, _ in documented} == public - of_sockets


def test_the_signals_are_documented() -> None:
    text = section("docs/embedding.md", "Rooms from your own code")
    documented = re.findall(r"^\| (`(?:room|participant)s?_\w+`.*?) \|", text, re.MULTILINE)
    known = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert set(re.findall(r"`(\w+)`", " ".join(documented))) == known


@pytest.mark.django_db(transaction=True)
def test_the_receiver_in_the_documents_works(room: Room, bob: User, enter: Enter) -> None:
    text = section("docs/embedding.md", "Rooms from your own code")
    (example,) = re.findall(r"```python\n(from django\.dispatch.*?)```", text, re.DOTALL)
    names: dict[str, list[tuple[object, ...]]] = {}
    exec(example, names)
    enter(bob)
    services.remove_user(bob)
    ((user, code, reason, _),) = names["visits"]
    assert (user, code, reason) == (bob, "ABC123", "removed")


# --- A project that follows the documents ---------------------------------------------------

CONSUMERS = """
from channels.generic.websocket import WebsocketConsumer

class ChatConsumer(WebsocketConsumer):
    def connect(self):
        self.accept()
        self.send(self.scope["user"].get_username())
"""
HOST = """
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"],
}
"""
USE = """
import asyncio, json
from myproject.asgi import application
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client, override_settings
from rooms import services

call_command("check", fail_level="ERROR")
call_command("migrate", verbosity=0)
users = get_user_model().objects
alice, bob = (users.create_user(name, password="correct horse") for name in ("alice", "bob"))
services.open_room(host=alice, code="TEA")
client = Client(headers={"host": "localhost"})
def token(name):
    answer = client.post("/api/token/", {"username": name, "password": "correct horse"})
    return answer.json()["access"]
tokens = {name: token(name) for name in ("alice", "bob")}
bearer = {"authorization": f"Bearer {tokens['alice']}"}
assert client.get("/api/rooms/TEA/", headers=bearer).json()["code"] == "TEA"
client.force_login(bob)
cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
assert client.get("/api/rooms/").status_code == 200

async def connect(mounted_at):
    path = f"{mounted_at}/ws/chat/"
    chat = WebsocketCommunicator(application, path, headers=[(b"cookie", cookie)])
    assert await chat.connect(timeout=60) == (True, None), path
    assert await chat.receive_from(timeout=60) == "bob"
    await chat.disconnect()
    for name, event in (("alice", "room:joined"), ("bob", "error")):
        headers = [(b"authorization", f"Bearer {tokens[name]}".encode())]
        path = f"{mounted_at}/ws/signalling/"
        socket = WebsocketCommunicator(application, path, headers=headers)
        assert await socket.connect(timeout=60) == (True, None), path
        await socket.send_json_to({"event": "join:room", "data": {"roomCode": "TEA"}})
        answer = await socket.receive_json_from(timeout=60)
        assert answer["event"] == event, answer
        await socket.disconnect()

async def connect_everywhere():
    await connect("")
    with override_settings(FORCE_SCRIPT_NAME="/shop"):
        await connect("/shop")

asyncio.run(connect_everywhere())
print("It works.")
"""


def test_a_project_that_follows_the_documents_keeps_its_own_parts(project: Path) -> None:
    package = project / "myproject"
    (package / "consumers.py").write_text(CONSUMERS)
    rules = blocks("Your own rules")
    functions = (text for path, text in rules if path == "myproject/calls.py")
    (package / "calls.py").write_text("\n\n".join(functions))
    tokens = blocks("Tokens and the REST API")
    with (package / "settings.py").open("a") as file:
        file.write("\nDJANGO = [a for a in INSTALLED_APPS if a.startswith('django.')]\n")
        file.write(HOST + rules[0][1] + tokens[0][1].replace("...", "*DJANGO"))
    with (package / "urls.py").open("a") as file:
        (urls,) = (text for path, text in tokens if path == "urls.py")
        file.write(urls.replace("...", "*urlpatterns"))
    ((_, asgi),) = blocks("Sockets of your own")
    (package / "asgi.py").write_text(asgi)
    assert run(project, "-c", USE).endswith("It works.\n")
