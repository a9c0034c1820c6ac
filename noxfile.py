"""Runs the unit tests on every supported Python and Django: `make matrix`.

Interpreters come from the PATH and from pyenv. A combination whose interpreter is not installed is
skipped and named. The environments stay in .nox and are reused.

`make test` runs the combinations with the tag "ci": the newest installed Python with the newest
Django, and the missing interpreters, to name them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
DJANGOS = {"5.2": "Django>=5.2,<6", "6": "Django>=6,<7"}
WITHOUT_DJANGO_6 = {"3.11"}
COMBINATIONS = [
    (python, django)
    for python in PYTHONS
    for django in DJANGOS
    if not (django == "6" and python in WITHOUT_DJANGO_6)
]
MAIN = f"{sys.version_info.major}.{sys.version_info.minor}", "5.2"
"""Covered by the other steps of `make test`."""
REQUIREMENTS = Path("requirements-dev.txt")
NOT_INSTALLED = {"django", "django-stubs", "import-linter", "grimp", "mypy", "playwright", "ruff"}
"""Pinned packages that the matrix replaces (Django) or that the unit tests do not use."""
NOT_RUN = [
    "browser",
    "faults",
    "hostile",
    "integration",
    "model",
    "test_docs.py",
    "test_javascript.py",
    "test_javascript_imports.py",
    "test_packaging.py",
    "test_requirements.py",
    "test_security_docs.py",
    "test_translations.py",
]
"""Tests that no interpreter and no Django changes, and tests of servers.

The model visits the same states on each: its rules have tests of their own, which the matrix runs.
"""

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"


def add_pyenv_to_path() -> None:
    """Put the interpreters of pyenv on the PATH. Its shims only run activated versions."""
    if shutil.which("pyenv") is None:
        return
    versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True)
    for version in versions.stdout.split():
        if version.rpartition(".")[0] in PYTHONS:
            prefix = subprocess.run(["pyenv", "prefix", version], capture_output=True, text=True)
            os.environ["PATH"] = f"{prefix.stdout.strip()}/bin{os.pathsep}{os.environ['PATH']}"


def tags() -> list[list[str]]:
    """Return the tags of each combination."""
    missing = {python for python in PYTHONS if shutil.which(f"python{python}") is None}
    newest = [found for found in COMBINATIONS if found[0] not in missing][-1:]
    in_ci = [found for found in COMBINATIONS if found[0] in missing or [found] == newest != [MAIN]]
    return [["ci"] if combination in in_ci else [] for combination in COMBINATIONS]


add_pyenv_to_path()


@nox.session
@nox.parametrize("python,django", COMBINATIONS, tags=tags())
def unit(session: nox.Session, django: str) -> None:
    """Run the unit tests with the newest Django of one series; other packages are pinned."""
    requirements = Path(session.create_tmp(), "requirements.txt")
    lines = REQUIREMENTS.read_text().splitlines(keepends=True)
    pinned = [line for line in lines if re.split("[=[]", line)[0] not in NOT_INSTALLED]
    requirements.write_text("".join(pinned))
    python = Path(session.virtualenv.bin, "python")
    packages = ["--no-deps", "-r", str(requirements), DJANGOS[django]]
    session.run("scripts/install", str(python), *packages, external=True)
    session.run("python", "-m", "django", "--version", env={"DJANGO_SETTINGS_MODULE": ""})
    ignored = [f"--ignore=tests/{path}" for path in NOT_RUN]
    # Random input finds what it finds on any of them: most of it is for the other unit tests.
    effort = {"EFFORT": os.environ.get("EFFORT", "0.2")}
    session.run("pytest", "-q", "-n", "3", *session.posargs, "tests", *ignored, env=effort)
