"""A new Django project that follows the README has a working call page and WebSocket."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

USE_IT = """
import asyncio
from myproject.asgi import application
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from tests.patience import PATIENCE

call_command("check")
call_command("migrate", verbosity=0)

visitor = Client(headers={"host": "localhost"})
for path in ("/calls/", "/calls/r/ABC123/"):
    response = visitor.get(path)
    assert response.headers["location"] == f"/admin/login/?next={path}", response.headers
get_user_model().objects.create_superuser("alice", password="correct horse")
sign_in = {"username": "alice", "password": "correct horse"}
assert visitor.post("/admin/login/?next=/calls/", sign_in).headers["location"] == "/calls/"
page = visitor.get("/calls/")
assert page.status_code == 200 and 'name="new_code"' in page.text, page.text

async def connect():
    communicator = WebsocketCommunicator(application, "/ws/signalling/")
    is_accepted, _ = await communicator.connect(timeout=PATIENCE)
    assert is_accepted
    await communicator.send_json_to({"event": "ping"})
    reply = await communicator.receive_json_from(timeout=PATIENCE)
    assert reply["data"]["code"] == "authentication_required", reply
    await communicator.disconnect()

asyncio.run(connect())
print("It works.")
"""


def snippet(name: str) -> str:
    """Return the README's lines for a file of the project."""
    (lines,) = re.findall(
        rf"^```python\n# {re.escape(name)}\n(.*?)^```$",
        (ROOT / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return str(lines)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project made by ``startproject`` and the README."""
    run(tmp_path, "-m", "django", "startproject", "myproject", ".")
    package = tmp_path / "myproject"
    for name, existing in (("settings.py", "*INSTALLED_APPS"), ("urls.py", "*urlpatterns")):
        with (package / name).open("a") as file:
            file.write(snippet(name).replace("...", existing))
    (package / "asgi.py").write_text(snippet("asgi.py"))
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_project_that_follows_the_readme_works(project: Path) -> None:
    assert run(project, "-c", USE_IT).endswith("It works.\n")
