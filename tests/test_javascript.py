"""The browser modules outside a browser: their unit tests in Node, their types, and their tables."""

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
    assert path, "Node 20 or newer is needed"
    major = int(run(path, "--version").lstrip("v").split(".")[0])
    assert major >= 20, f"Node 20 or newer is needed, this is {major}"
    return path


def test_unit_tests(node: str) -> None:
    run(node, "--test", *map(str, sorted((ROOT / "tests/js").glob("*.test.mjs"))))


def test_types(node: str) -> None:
    compiler = ROOT / "node_modules/typescript/bin/tsc"
    assert compiler.exists(), "node_modules is missing: run `npm ci`"
    run(node, str(compiler), "--noEmit", "-p", ".")


def test_every_code_of_the_server_has_a_message(node: str) -> None:
    script = f"""
        import {{ERRORS, CLOSES}} from "{(MODULES / "page/error-texts.js").as_uri()}";
        console.log(JSON.stringify([Object.keys(ERRORS), Object.keys(CLOSES).map(Number)]));
    """
    errors, closes = json.loads(run(node, "--input-type=module", "--eval", script))
    assert set(ErrorCode) <= set(errors)
    assert set(CloseCode) <= set(closes)


def test_no_file_grows_out_of_hand() -> None:
    long = {path.name for path in MODULES.rglob("*.js") if len(path.read_text().splitlines()) > 250}
    assert not long
