"""Read the documents: their sections and tables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def section(document: str, heading: str | None) -> str:
    """Return the text between a heading of the second level and the next one."""
    text = (ROOT / document).read_text()
    if heading is None:
        return text
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert heading in sections, f"{document} has no heading {heading!r}"
    return sections[heading]


def rows(document: str, heading: str) -> list[list[str]]:
    """Return the cells of the tables in a section, without code marks and without their headers."""
    lines = [line for line in section(document, heading).splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines]
    headers = {n - 1 for n, row in enumerate(cells) if set("".join(row)) <= set("-:")}
    return [row for n, row in enumerate(cells) if n not in headers and n - 1 not in headers]
