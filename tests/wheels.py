"""Build the wheel, and install it into environments that have what it requires and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
NAME = "django-signalling"
Requirements = list[Requirement]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


class Environment:
    """A virtual environment with the wheel, its requirements, and those of ``extras``.

    The requirements are copies (links) of the distributions that run this test, found as pip finds
    them: through the metadata of the wheel and of each distribution. Nothing is downloaded.
    """

    def __init__(self, folder: Path, wheel: Path, extras: Iterable[str] = ()) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        (self.packages,) = folder.glob("lib/python*/site-packages")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.packages)
        (info,) = self.packages.glob("django_signalling-*.dist-info")
        self.installed = {NAME}
        self._install_requirements_of(Distribution.at(info), set(extras))

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def install(self, *requirements: str) -> None:
        """Install distributions that run this test, with their requirements."""
        for requirement in requirements:
            self._install(Requirement(requirement))

    def run(self, *arguments: str, cwd: Path, **variables: str) -> str:
        """Run Python in the environment, and return its output."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        done = subprocess.run(
            [self.python, *arguments],
            cwd=cwd,
            env=kept | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _install(self, requirement: Requirement) -> None:
        found = distribution(requirement.name)
        assert requirement.specifier.contains(found.version), f"{requirement}: {found.version}"
        name = normalise(requirement.name)
        if name not in self.installed:
            self.installed.add(name)
            self._link(found)
            self._install_requirements_of(found, set())
        self._install_requirements_of(found, requirement.extras)

    def _install_requirements_of(self, found: Distribution, extras: set[str]) -> None:
        for requirement in requirements(found):
            marker = requirement.marker
            if any(marker is None or marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                self._install(requirement)

    def _link(self, found: Distribution) -> None:
        """Link what a distribution has in ``site-packages``."""
        names = {path.parts[0] for path in found.files or () if path.parts[0] != ".."}
        for name in names - {"__pycache__"}:
            source, target = Path(str(found.locate_file(name))), self.packages / name
            if not target.exists() and source.is_dir():
                target.symlink_to(source, target_is_directory=True)
            elif not target.exists():
                shutil.copy(source, target)


def requirements(found: Distribution) -> Requirements:
    return [Requirement(text) for text in found.requires or ()]


def normalise(name: str) -> str:
    """Return the normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
