"""``make demo``: prepare a site for a call between two tabs, then serve it with Daphne."""

import fcntl
import json
import os
import secrets
import sys
from argparse import ArgumentParser
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from rooms import services
from rooms.exceptions import CodeTaken
from rooms.models import Participant
from signalling_project import janus
from signalling_project.settings import env

ROOM = "ABC123"
SEATS_PER_USER = 50  # all fake peers are bob


class Command(BaseCommand):
    help = (
        "Prepare a demo site (migrations, users alice and bob, room ABC123) and serve it with "
        "Daphne. It is safe to run again: it keeps the database, the secrets and the passwords."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port", type=int, default=8000, help="port on 127.0.0.1 (default: 8000)"
        )
        parser.add_argument(
            "--sfu",
            action="store_true",
            help="also start a Janus server (Debian package: janus), which allows rooms of more "
            "than ten people; it stops with the demo",
        )
        parser.add_argument(
            "--prepare-only", action="store_true", help="prepare the site without serving it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _require_demo_environment()
        with closing(Lock(_folder() / "lock")) as lock:
            call_command("migrate", verbosity=0, interactive=False)
            if lock.is_exclusive:
                self._end_lost_memberships()
            lock.share()
            passwords = {
                "alice": self._user("alice", is_staff=True, is_superuser=True),
                "bob": self._user("bob"),
            }
            self._room()
            self._print_summary(f"http://127.0.0.1:{options['port']}", passwords)
            signalling = {"SEATS_PER_USER": SEATS_PER_USER, **env.json("SIGNALLING", default={})}
            if options["sfu"]:
                signalling["SFU"] = _janus()
            if not options["prepare_only"]:
                os.environ["SIGNALLING"] = json.dumps(signalling)
                self._serve(options["port"])

    def _end_lost_memberships(self) -> None:
        # No demo is running, so live memberships are left over from a demo that was killed.
        for participant in Participant.objects.live():
            services.leave(participant.peer_id, reason=Participant.Reason.SERVER_LOST)

    def _user(self, username: str, **flags: bool) -> str:
        password = _load_or_create_secret(f"password-{username}", 9)
        user, _ = get_user_model()._default_manager.get_or_create(
            **{get_user_model().USERNAME_FIELD: username}, defaults=flags
        )
        if not user.check_password(password):
            user.set_password(password)
            user.save()
        return password

    def _room(self) -> None:
        alice = get_user_model()._default_manager.get_by_natural_key("alice")
        try:
            services.open_room(host=alice, name="Demo room", code=ROOM)
        except CodeTaken:
            self.stdout.write(f"Room {ROOM} exists.")

    def _print_summary(self, url: str, passwords: dict[str, str]) -> None:
        self.stdout.write(
            "\n".join(
                (
                    "",
                    "  django-signalling demo",
                    "",
                    f"  Call page   {url}/r/{ROOM}/     open in two tabs",
                    f"  Home        {url}/",
                    f"  Admin       {url}/admin/         as alice",
                    "",
                    *(f"  user {name:6} password {word}" for name, word in passwords.items()),
                    "",
                    "  Both tabs can be alice. For bob, use another browser or a private window.",
                    "  Stop with Ctrl-C.",
                    "",
                )
            )
        )

    def _serve(self, port: int) -> None:
        if find_spec("daphne") is None:
            raise CommandError("Daphne is not installed for this Python. Run `make demo`.")
        self.stdout.flush()
        daphne = [
            sys.executable,
            "-m",
            "signalling.servers.daphne",
            "-b",
            "127.0.0.1",
            "-p",
            str(port),
            "-v",
            "0",
        ]
        os.execv(sys.executable, [*daphne, "signalling_project.asgi:application"])  # noqa: S606


def _janus() -> dict[str, str]:
    """Start a Janus that stops with this process. Return the value of ``SIGNALLING["SFU"]``."""
    if not janus.is_installed():
        raise CommandError(
            "Janus is not installed. Run: sudo apt-get install --no-install-recommends janus. "
            "Without Janus, use `make demo`, with rooms of up to ten people."
        )
    private = janus.PrivateJanus.configure(_folder() / "janus")
    with (private.folder / "log").open("wb") as log:
        process = private.start(stdout=log, stderr=log)
    try:
        private.wait(process)
    except OSError as error:
        raise CommandError(str(error)) from error
    return private.settings


def _load_or_create_secret(name: str, size: int) -> str:
    """Return a secret that the first run generates and later runs reuse."""
    path = _folder() / name
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(size))
    return path.read_text()


def _folder() -> Path:
    return Path(settings.DATABASES["default"]["NAME"]).parent


def _require_demo_environment() -> None:
    """Raise ``CommandError`` outside a demo environment: the demo prints a superuser's password."""
    is_sqlite = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    if not (settings.DEMO and is_sqlite):
        raise CommandError(
            "This is not a demo environment. Run `make demo`, which creates one, with DEMO=on and "
            "its own SQLite database. For other sites, use `manage.py migrate`, `createsuperuser` "
            "and `create_room`."
        )


class Lock:
    """A lock file in the demo's folder.

    Running demos share it. The lock is exclusive while a demo prepares and no other is running.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        os.set_inheritable(self._file, True)  # Daphne replaces this process and keeps the lock
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.is_exclusive = True
        except BlockingIOError:
            self.is_exclusive = False
            self.share()  # waits while another demo prepares exclusively

    def share(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def close(self) -> None:
        os.close(self._file)
