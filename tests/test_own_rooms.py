"""A site with a package ``rooms`` of its own: the error, and the way out in docs/embedding.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT, section

SETTINGS = """
SECRET_KEY = "s" * 50
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    *{apps!r}, "signalling",
]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3",
    "OPTIONS": {{"transaction_mode": "IMMEDIATE"}}}}}}
CHANNEL_LAYERS = {{"default": {{"BACKEND": "signalling.layers.LocalChannelLayer"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODELS = """
from django.db import models

class Room(models.Model):
    host = models.ForeignKey("auth.User", models.CASCADE)
"""
TABLES = """
from django.db import connection
from praxis.rooms.models import Room
from rooms.models import Room as CallRoom

names = connection.introspection.table_names()
assert {Room._meta.db_table, CallRoom._meta.db_table} <= set(names), names
assert Room._meta.label == "rooms.Room" and CallRoom._meta.label == "signalling_rooms.Room"
"""


def make(folder: Path, package: str, *, apps: list[str]) -> Path:
    """Make a site whose own app is the package ``package``."""
    app = folder.joinpath(*package.split("."))
    app.mkdir(parents=True)
    for path in (app, *app.relative_to(folder).parents):
        if path.name:
            (folder / path / "__init__.py").touch()
    (app / "models.py").write_text(MODELS)
    (app / "apps.py").write_text(
        "from django.apps import AppConfig\n\n\n"
        f'class RoomsConfig(AppConfig):\n    name = "{package}"\n'
    )
    (folder / "site_settings.py").write_text(SETTINGS.format(apps=apps))
    return app


def manage(folder: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    variables = {"DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": path}
    command = [sys.executable, "-P", "-m", "django", *arguments]
    return subprocess.run(
        command, cwd=folder, env=kept | variables, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("is_first", "apps"), [(True, ["rooms"]), (True, []), (False, ["rooms"])], ids=str
)
def test_the_error_names_both_paths_and_the_way_out(
    tmp_path: Path, is_first: bool, apps: list[str]
) -> None:
    theirs = make(tmp_path, "rooms", apps=apps)
    entries = [str(tmp_path), str(ROOT)] if is_first else [str(ROOT), str(tmp_path)]
    done = manage(tmp_path, "check", path=os.pathsep.join(entries))
    assert done.returncode != 0
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("django.core.exceptions.ImproperlyConfigured")
    for part in (str(theirs), str(ROOT / "rooms"), "`myproject.rooms`", "docs/embedding.md"):
        assert part in message, done.stderr


def test_the_way_out_works(tmp_path: Path) -> None:
    make(tmp_path, "praxis.rooms", apps=["praxis.rooms", "rooms"])
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    for arguments in (
        ["check"],
        ["migrate", "--run-syncdb", "-v0"],
        ["shell", "-v0", "-c", TABLES],
    ):
        done = manage(tmp_path, *arguments, path=path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_documents_describe_the_way_out() -> None:
    assert "praxis.rooms" in section("docs/embedding.md", "A site with its own rooms")
