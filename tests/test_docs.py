"""The documents agree with the code: tables, links, paths, commands and versions."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from signalling.conf import SignallingSettings
from signalling.protocol import CLIENT_EVENTS, SERVER_EVENTS, SUBPROTOCOL, CloseCode, ErrorCode
from tests.documents import ROOT, section

DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCE = PROJECT["urls"]["Source"]
RAW = SOURCE.replace("https://github.com/", "https://raw.githubusercontent.com/")

LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(
    r"(?<![\w/.:-])(?:benchmarks|docs|fake_peers|rooms|scripts|signalling|signalling_project|tests)"
    r"/[\w./-]*\w"
)
WIDTH = 100


def first_cells(document: str, heading: str | None, pattern: str) -> list[str]:
    """Return the first cells of the tables in a section that match ``pattern``."""
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


def test_the_defaults_of_the_settings_are_documented() -> None:
    settings = SignallingSettings()
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| ([^|]+) \|", section("docs/settings.md", None), re.M)
    documented = {key.lower(): json.loads(value.strip("`")) for key, value in rows}
    assert documented == {field.name: getattr(settings, field.name) for field in fields(settings)}


# --- Links ------------------------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", without_code(document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def targets(document: str) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor of each link to a file of this repository."""
    for link in LINK.findall((ROOT / document).read_text()):
        address, _, anchor = link.partition("#")
        for prefix in (f"{SOURCE}/blob/main/", f"{RAW}/main/"):
            if address.startswith(prefix):
                yield ROOT / address.removeprefix(prefix), anchor
                break
        else:
            if not address.startswith("https://"):
                yield (ROOT / document).parent / address if address else ROOT / document, anchor


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings(document: str) -> None:
    for path, anchor in targets(document):
        assert path.is_file(), f"{document} links to {path}"
        assert not anchor or anchor in anchors(path), f"{document} links to {path}#{anchor}"


def test_the_readme_works_on_pypi() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [link for link in LINK.findall(readme) if not link.startswith("https://")]
    assert len(readme.splitlines()) < 120


def test_the_readme_names_supported_versions() -> None:
    readme = (ROOT / "README.md").read_text()
    classifiers = set(PROJECT["classifiers"])
    for name, classifier in (
        ("Python", "Programming Language :: Python"),
        ("Django", "Framework :: Django"),
    ):
        (versions,) = re.findall(rf"\[!\[{name}: ([\d., ]+)\]", readme)
        assert {f"{classifier} :: {version}" for version in versions.split(", ")} <= classifiers
    assert f"[![Licence: {PROJECT['license']}]" in readme


# --- Paths and commands -----------------------------------------------------------------------


def exists(path: str) -> bool:
    """Return whether a path exists, from the root or as Django finds a template or a static file."""
    bases = (ROOT, ROOT / "signalling/static", ROOT / "signalling/templates")
    return any((base / path).exists() for base in bases)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_exist(document: str) -> None:
    text = LINK.sub("]", (ROOT / document).read_text())
    assert not [path for path in PATH.findall(text) if not exists(path)]


def test_the_steps_of_adding_an_event_are_the_code() -> None:
    steps = section("CONTRIBUTING.md", "Adding a wire event")
    examples = re.findall(r"`([\w/.]+\.\w+)`|```python\n(.*?)```", steps, re.DOTALL)
    file = ""
    for path, example in examples:
        file = path if re.search(rf"^\*\*.*`{path}`", steps, re.MULTILINE) else file
        assert example in (ROOT / file).read_text(), f"not the code of {file}"


def test_the_architecture_names_every_package() -> None:
    names = set(first_cells("docs/architecture.md", "The packages of `signalling`", r"`(\w+)/`"))
    assert names == {path.parent.name for path in (ROOT / "signalling").glob("*/__init__.py")}


def test_the_architecture_names_modules_that_exist() -> None:
    rows = section("docs/architecture.md", "The packages of `signalling`").splitlines()
    for folder, modules in re.findall(r"^\| `(\w+)/` \| (.*) \|$", "\n".join(rows), re.MULTILINE):
        package = ROOT / "signalling" / folder
        for module in re.findall(r"`([a-z_]+)/?`", modules):
            assert (package / f"{module}.py").exists() or (package / module).is_dir(), module
    for module in first_cells("docs/architecture.md", "One socket", r"`([a-z_]+)`"):
        assert (ROOT / "signalling/peers" / f"{module}.py").exists(), module


NO_MODULES = {SUBPROTOCOL, "signalling.closed", "rooms.Room"}  # a message, a model of a site
CURRENT = [name for name in DOCUMENTS if name != "CHANGELOG.md"]  # it also names former modules


@pytest.mark.parametrize("document", CURRENT)
def test_modules_and_names_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    names = set(re.findall(r"(?<![\w.-])(?:rooms|signalling|fake_peers)(?:\.\w+)+", text))
    names |= set(re.findall(r"python -m (\w+(?:\.\w+)*)", text))
    assert not {name for name in names - NO_MODULES if not is_defined(name)}


def is_defined(name: str) -> bool:
    """Return whether a dotted name is a module, defined by one, or the id of a system check."""
    module, _, attribute = name.rpartition(".")
    if re.fullmatch(r"[EW]\d{3}", attribute):
        checks = (path.read_text() for path in ROOT.glob("*/*checks.py"))
        return any(f'id="{name}"' in text for text in checks)
    with suppress(ModuleNotFoundError):  # ``module`` is no package
        if find_spec(name) is not None:
            return True
    return hasattr(import_module(module), attribute)


@pytest.mark.parametrize("document", CURRENT)
def test_make_targets_exist(document: str) -> None:
    text, makefile = (ROOT / document).read_text(), (ROOT / "Makefile").read_text()
    code = "\n".join(re.findall(r"^    .*$|`[^`\n]+`", text, re.MULTILINE)) + "\n"
    targets = set(re.findall(r"(?<=[`\s])make ([a-z][\w-]*|\.venv/\w+)(?=[`\s])", code))
    assert not {name for name in targets if not re.search(rf"^{re.escape(name)}:", makefile, re.M)}


# --- Form -------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_lines_are_wrapped(document: str) -> None:
    """Tables, code, and what cannot be broken (a link) may be longer."""
    lines = without_code((ROOT / document).read_text()).splitlines()
    long = [line for line in lines if len(line) > WIDTH and not line.startswith("|")]
    assert not [line for line in long if not LINK.search(line)]
