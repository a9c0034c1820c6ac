"""No pinned requirement has a known vulnerability (``floors.toml``)."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.version import Version

from tests.documents import ROOT

FLOORS: dict[str, str] = tomllib.loads((ROOT / "tests/floors.toml").read_text())["versions"]
PINNED = dict(
    re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", (ROOT / "requirements.txt").read_text(), re.M)
)


@pytest.mark.parametrize("package", FLOORS)
def test_no_pinned_package_is_older_than_its_floor(package: str) -> None:
    assert Version(PINNED[package]) >= Version(FLOORS[package])


def test_the_requirements_of_development_are_the_same() -> None:
    development = (ROOT / "requirements-dev.txt").read_text()
    for package in FLOORS:
        assert f"\n{package}=={PINNED[package]}\n" in development
