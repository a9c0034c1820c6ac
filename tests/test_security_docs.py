"""``docs/security.md`` agrees with the tests that it names."""

from __future__ import annotations

import re

import pytest

from tests.documents import ROOT, rows
from tests.hostile.test_websocket_frames import VIOLATIONS
from tests.integration.test_bad_frames import BAD_FRAMES

DOCUMENT = "docs/security.md"
THREATS = rows(DOCUMENT, "Threats")


@pytest.mark.parametrize("threat", THREATS, ids=lambda row: row[0])
def test_each_threat_has_tests_that_exist(threat: list[str]) -> None:
    _, control, cell = threat
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", cell)
    assert control
    assert named
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}"


def test_the_input_matrix_is_that_of_the_tests() -> None:
    frames = {name.strip(): str(code) for name, (_, code) in BAD_FRAMES.items()}
    violations = {name: str(code) for name, (_, code) in VIOLATIONS.items()}
    assert dict(rows(DOCUMENT, "Input matrix")) == frames | violations
