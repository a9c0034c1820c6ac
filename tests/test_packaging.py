"""Build the wheel that a host site installs, and inspect it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BACKEND = "hatchling"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    if importlib.util.find_spec(BACKEND) is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"{BACKEND}, the build backend, is not installed: THE WHEEL IS NOT TESTED"
        )
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("django_signalling-*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def files(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_string(wheel.read(name).decode())


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
        "signalling/static/signalling/index.js",
        "signalling/static/signalling/page/call.css",
    ],
)
def test_the_wheel_contains_data_files_and_migrations(files: set[str], name: str) -> None:
    assert name in files


def test_the_wheel_has_complete_metadata(metadata: Message, wheel: zipfile.ZipFile) -> None:
    assert metadata["Name"] == "django-signalling"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "# " in str(metadata.get_payload()), "the README is the description"
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_the_wheel_does_not_require_packages_of_the_example_site(
    metadata: Message,
) -> None:
    required = [name for name in metadata.get_all("Requires-Dist", []) if "extra ==" not in name]
    names = {name.split(">")[0].split("<")[0].split("[")[0].strip().lower() for name in required}
    assert names == {
        "django",
        "channels",
        "djangorestframework",
        "djangorestframework-simplejwt",
        "pyjwt",
        "msgspec",
        "prometheus-client",
    }


def test_the_apps_run_with_only_their_required_packages() -> None:
    """Import every module and use a site with a custom user model; see tests/minimal_site."""
    command = [sys.executable, "-m", "tests.minimal_site"]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("It runs.")
