"""Files stay short enough to read in one sitting."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_LINES = {  # by git pathspec; the first that matches a file counts
    "tests": 400,
    "*.js": 250,
    "*.mjs": 300,
    "*.py": 300,
}


def files(pathspec: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--", pathspec], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    is_test = pathspec == "tests"
    return [ROOT / name for name in listed if name.startswith("tests/") is is_test]


@pytest.mark.parametrize("pathspec", MAX_LINES)
def test_no_file_is_too_long(pathspec: str) -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text().splitlines())
        for path in files(pathspec)
        if path.suffix in {".py", ".js", ".mjs"} and path.exists()
    }
    assert lengths, f"git lists no {pathspec}"
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_LINES[pathspec]}
