from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from rooms.models import Participant, Room
from tests.conftest import Enter

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The demo's folder, in which it keeps the passwords: a temporary one."""
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", str(tmp_path / "db.sqlite3"))
    monkeypatch.setattr(settings, "DEMO", True)
    return tmp_path


def prepare(*arguments: str) -> str:
    out = StringIO()
    call_command("demo", "--prepare-only", *arguments, stdout=out)
    return out.getvalue()


def passwords(printed: str) -> dict[str, str]:
    return dict(re.findall(r"user (\w+) +password (\S+)", printed))


def test_the_demo_creates_two_users_and_a_room_and_prints_urls(folder: Path) -> None:
    printed = prepare("--port", "8765")
    assert "http://127.0.0.1:8765/r/ABC123/" in printed
    assert Room.objects.get().code == "ABC123"
    assert set(passwords(printed)) == {"alice", "bob"}
    for username, password in passwords(printed).items():
        assert authenticate(username=username, password=password)
    assert User.objects.get(username="alice").is_superuser
    assert not User.objects.get(username="bob").is_staff
    assert Room.objects.get().host == User.objects.get(username="alice")


def test_passwords_are_random_and_readable_only_by_their_owner(folder: Path) -> None:
    printed = prepare()
    assert len(set(passwords(printed).values())) == 2
    kept = sorted(folder.glob("password-*"))
    assert [path.name for path in kept] == ["password-alice", "password-bob"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)


def test_a_second_run_keeps_everything() -> None:
    first = passwords(prepare())
    room, users = Room.objects.get(), list(User.objects.order_by("pk"))
    second = passwords(prepare())
    assert first == second
    assert Room.objects.get() == room
    assert [user.password for user in users] == [
        user.password for user in User.objects.order_by("pk")
    ]


def test_the_demo_ends_memberships_of_a_killed_demo(enter: Enter) -> None:
    prepare()
    peer = enter(User.objects.get(username="bob")).participant
    prepare()
    peer.refresh_from_db()
    assert (peer.is_live, peer.reason) == (False, Participant.Reason.SERVER_LOST)


def test_a_demo_without_daphne_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalling_project.management.commands.demo.find_spec", lambda name: None)
    with pytest.raises(CommandError, match="Daphne is not installed"):
        call_command("demo", stdout=StringIO())


def test_the_demo_executes_daphne(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda path, arguments: commands.append(arguments))
    monkeypatch.setenv("SIGNALLING", '{"P2P_LIMIT": 4}')
    call_command("demo", "--port", "8765", stdout=StringIO())
    (command,) = commands
    assert command[:3] == [sys.executable, "-m", "signalling.servers.daphne"]
    assert command[3:7] == ["-b", "127.0.0.1", "-p", "8765"]
    assert command[-1] == "signalling_project.asgi:application"
    signalling = json.loads(os.environ["SIGNALLING"])
    assert signalling == {"SEATS_PER_USER": 50, "P2P_LIMIT": 4}, "one user may fill the room"


def test_a_second_demo_in_the_folder_ends_no_memberships(folder: Path, enter: Enter) -> None:
    prepare()
    peer = enter(User.objects.get(username="bob")).participant
    for _ in range(2):
        with (folder / "lock").open() as running:
            fcntl.flock(running, fcntl.LOCK_SH)  # as a running Daphne does
            prepare("--port", "8001")
        peer.refresh_from_db()
        assert peer.is_live
    prepare()
    peer.refresh_from_db()
    assert not peer.is_live


def test_the_demo_environment_is_written_once(tmp_path: Path) -> None:
    def write() -> str:
        command = [sys.executable, str(ROOT / "scripts" / "demo_env.py"), str(tmp_path / "demo")]
        subprocess.run(command, check=True, timeout=20)
        return (tmp_path / "demo" / "env").read_text()

    first = write()
    assert "DEMO=on\n" in first
    assert write() == first
    (tmp_path / "demo" / "env").write_text(first.replace("DEMO=on\n", ""))
    assert sorted(write().split()) == sorted(first.split())
