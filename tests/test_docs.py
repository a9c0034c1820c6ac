"""The documents and the code say the same: every table is compared with the types it describes."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from signalling.conf import SignallingSettings
from signalling.protocol import CLIENT_EVENTS, SERVER_EVENTS, CloseCode, ErrorCode

ROOT = Path(__file__).resolve().parents[1]


def section(document: str, heading: str | None) -> str:
    """Return what stands between a heading of the second level and the next one."""
    text = (ROOT / document).read_text()
    if heading is None:
        return text
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert heading in sections, f"{document} has no heading {heading!r}"
    return sections[heading]


def first_cells(document: str, heading: str | None, pattern: str) -> list[str]:
    """Return the first cells of the tables in a section that look like ``pattern``."""
    lines = section(document, heading).splitlines()
    cells = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    found = [match[1] for cell in cells if (match := re.fullmatch(pattern, cell))]
    assert found, f"no table in {document}, {heading}"
    assert len(found) == len(set(found)), f"named twice in {document}, {heading}"
    return found


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Client to server", set(CLIENT_EVENTS)),
        ("Server to client", set(SERVER_EVENTS)),
        ("Error codes", set(ErrorCode)),
    ],
)
def test_the_protocol_names_all_that_the_code_knows(heading: str, names: set[str]) -> None:
    assert set(first_cells("PROTOCOL.md", heading, r"`([^`]+)`")) == {str(name) for name in names}


def test_the_protocol_names_every_close_code() -> None:
    ours = {str(int(code)) for code in CloseCode if code >= 4000}
    named = set(first_cells("PROTOCOL.md", "Close codes", r"`?(\d{4})`?"))
    assert {code for code in named if code >= "4000"} == ours


def test_every_setting_is_documented() -> None:
    keys = {field.name.upper() for field in fields(SignallingSettings)}
    assert set(first_cells("docs/settings.md", None, r"`([A-Z0-9_]+)`")) == keys
