"""The browser modules outside a browser: their unit tests in Node, their types, texts and sizes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from signalling.protocol import CloseCode, ErrorCode

ROOT = Path(__file__).resolve().parents[1]
MODULES = ROOT / "signalling/static/signalling"


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def node() -> str:
    path = shutil.which("node")
    assert path, "Node 20 or newer is required"
    major = int(run(path, "--version").lstrip("v").split(".")[0])
    assert major >= 20, f"Node 20 or newer is required, found {major}"
    return path


def test_unit_tests(node: str) -> None:
    run(node, "--test", *map(str, sorted((ROOT / "tests/js").glob("*.test.mjs"))))


def test_types(node: str) -> None:
    compiler = ROOT / "node_modules/typescript/bin/tsc"
    assert compiler.exists(), "node_modules is missing: run `npm ci`"
    run(node, str(compiler), "--noEmit", "-p", ".")


def test_every_error_and_close_code_has_a_text(node: str) -> None:
    script = f"""
        import {{ERRORS, CLOSES}} from "{(MODULES / "page/error-texts.js").as_uri()}";
        console.log(JSON.stringify([Object.keys(ERRORS), Object.keys(CLOSES).map(Number)]));
    """
    errors, closes = json.loads(run(node, "--input-type=module", "--eval", script))
    assert set(ErrorCode) <= set(errors)
    assert set(CloseCode) <= set(closes)


def test_module_length() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in MODULES.rglob("*.js")}
    assert {name: length for name, length in lengths.items() if length > 250} == {}


def test_comment_width() -> None:
    wide = [
        f"{path.name}: {line.strip()}"
        for path in [*MODULES.rglob("*.js"), *MODULES.rglob("*.css")]
        for line in path.read_text().splitlines()
        if line.strip().startswith(("/*", "*", "//")) and len(line) > 100
    ]
    assert wide == []
