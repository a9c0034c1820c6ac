"""Build the wheel that a host site installs, and inspect it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from email import message_from_string
from email.message import Message
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.wheels import normalise, requirements

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def archive(wheel: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel)


@pytest.fixture(scope="module")
def files(archive: zipfile.ZipFile) -> set[str]:
    return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def metadata(archive: zipfile.ZipFile) -> Message:
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_string(archive.read(name).decode())


def test_the_wheel_contains_only_the_two_apps(files: set[str]) -> None:
    assert {name.split("/")[0] for name in files} == {"rooms", "signalling"}


def test_the_wheel_contains_every_file_of_the_apps(files: set[str]) -> None:
    sources = {
        str(path.relative_to(ROOT))
        for app in ("rooms", "signalling")
        for path in (ROOT / app).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources - files == set()


@pytest.mark.parametrize(
    "name",
    [
        "rooms/py.typed",
        "signalling/py.typed",
        "rooms/migrations/0001_initial.py",
        "rooms/management/commands/create_room.py",
        "signalling/templates/signalling/call.html",
        "rooms/locale/de/LC_MESSAGES/django.mo",
        "signalling/locale/de/LC_MESSAGES/django.mo",
        "signalling/locale/de/LC_MESSAGES/djangojs.mo",
        "signalling/static/signalling/index.js",
        "signalling/static/signalling/page/call.css",
    ],
)
def test_the_wheel_contains_data_files_and_migrations(files: set[str], name: str) -> None:
    assert name in files


def test_the_wheel_has_complete_metadata(metadata: Message, archive: zipfile.ZipFile) -> None:
    assert metadata["Name"] == "django-signalling"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "# " in str(metadata.get_payload()), "the README is the description"
    assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())


def test_the_wheel_requires_three_packages(metadata: Message) -> None:
    assert set(required(metadata)) == {"django", "channels", "msgspec"}


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ("daphne", {"daphne", "twisted", "autobahn"}),
        ("uvicorn", {"uvicorn", "httptools", "websockets"}),
        ("redis", {"redis", "hiredis", "msgpack"}),
        ("postgres", {"psycopg"}),
        ("jwt", {"djangorestframework", "djangorestframework-simplejwt", "pyjwt"}),
        ("metrics", {"prometheus-client"}),
        ("janus", {"websockets"}),
        ("livekit", {"livekit-api"}),
        ("client", {"websockets"}),
    ],
)
def test_the_extras(metadata: Message, extra: str, names: set[str]) -> None:
    assert extra in metadata.get_all("Provides-Extra", [])
    assert set(required(metadata, extra)) == names


def test_channels_redis_is_required_by_the_example_site_alone(metadata: Message) -> None:
    texts = [text for text in metadata.get_all("Requires-Dist", []) if "channels-redis" in text]
    assert [text for text in texts if "extra == 'site'" not in text] == []
    assert re.search(r"^channels-redis==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)


@pytest.mark.parametrize("django", ["5.2", "5.2.19", "6.0", "6.1", "6.1.3"])
def test_no_requirement_replaces_the_django_of_a_site(metadata: Message, django: str) -> None:
    """pip would downgrade Django for a requirement with an upper bound, of ours or of another."""
    installed = {normalise(text) for extra in ("", *EXTRAS) for text in required(metadata, extra)}
    ours = {
        text: requirement for text, requirement in required(metadata).items() if text == "django"
    }
    assert ours["django"].specifier.contains(django)
    for name in installed - {"django"}:
        for requirement in requirements(distribution(name)):
            if normalise(requirement.name) == "django":
                assert requirement.specifier.contains(django), f"{name} requires {requirement}"


EXTRAS = ("daphne", "uvicorn", "redis", "postgres", "jwt", "metrics", "janus", "livekit", "client")


def test_the_classifiers_are_what_the_matrix_runs(metadata: Message) -> None:
    noxfile = (ROOT / "noxfile.py").read_text()
    (pythons,) = re.findall(r"^PYTHONS = \[(.*)\]", noxfile, re.MULTILINE)
    (djangos,) = re.findall(r"^DJANGOS = \{(.*)\}", noxfile, re.MULTILINE)
    classifiers = metadata.get_all("Classifier", [])
    assert set(re.findall(r'"([\d.]+)"', pythons)) == versions("Python :: 3.", classifiers)
    series = {version.replace("6.1", "6") for version in versions("Django :: ", classifiers)}
    assert set(re.findall(r'"([\d.]+)":', djangos)) == series


def versions(prefix: str, classifiers: list[str]) -> set[str]:
    found = [text.rpartition(" :: ")[2] for text in classifiers if prefix in text]
    return {version for version in found if re.fullmatch(r"\d+\.\d+", version)}


def required(metadata: Message, extra: str = "") -> dict[str, Requirement]:
    """Return what the wheel requires: always, or because of an extra."""
    found = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    return {
        normalise(requirement.name): requirement
        for requirement in found
        if (not extra and requirement.marker is None)
        or (extra and requirement.marker and f'extra == "{extra}"' in str(requirement.marker))
    }


def test_the_apps_run_with_the_packages_of_the_extra_jwt() -> None:
    """Import every module and use a site with a custom user model; see tests/minimal_site."""
    command = [sys.executable, "-m", "tests.minimal_site"]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("It runs.")
