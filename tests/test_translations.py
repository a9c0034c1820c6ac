"""The translations are complete, and the compiled ones are those of the sources.

They need the programs of GNU gettext. The pages in German are in tests/signalling/test_languages.py.
"""

from __future__ import annotations

import gettext
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import override_settings
from django.utils.translation import override

from signalling.page_texts import translations

ROOT = Path(__file__).resolve().parents[1]
APPS = ("rooms", "signalling")
CATALOGUES = sorted(
    str(path.relative_to(ROOT)) for app in APPS for path in ROOT.glob(f"{app}/locale/**/*.po")
)
PLACEHOLDER = re.compile(r"\{\w+\}|%\(\w+\)[sd]")


@pytest.fixture(scope="module")
def msgfmt() -> str:
    found = shutil.which("msgfmt")
    if found is None or shutil.which("xgettext") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "gettext is not installed: THE TRANSLATIONS ARE NOT TESTED"
        )
    return str(found)


@pytest.fixture(scope="module")
def updated(msgfmt: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the apps with the translations as `make messages` would leave them."""
    copy = tmp_path_factory.mktemp("apps")
    for app in APPS:
        shutil.copytree(ROOT / app, copy / app, ignore=shutil.ignore_patterns("__pycache__"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [ROOT / "scripts/messages", copy], env={**os.environ, "PATH": path}, check=True, timeout=60
    )
    return copy


def read(path: Path) -> dict[object, str]:
    """Return the messages of a compiled catalogue, without its header."""
    with path.with_suffix(".mo").open("rb") as file:
        messages: dict[object, str] = dict(vars(gettext.GNUTranslations(file))["_catalog"])
    del messages[""]
    return messages


def test_there_is_a_catalogue_for_each_app_and_for_javascript() -> None:
    assert CATALOGUES == [
        "rooms/locale/de/LC_MESSAGES/django.po",
        "signalling/locale/de/LC_MESSAGES/django.po",
        "signalling/locale/de/LC_MESSAGES/djangojs.po",
    ]


@pytest.mark.parametrize("name", CATALOGUES)
def test_every_text_is_translated(msgfmt: str, updated: Path, name: str) -> None:
    command = [msgfmt, "--check", "--statistics", "-o", os.devnull, str(updated / name)]
    done = subprocess.run(
        command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, timeout=60
    )
    assert re.fullmatch(r"\d+ translated messages\.\n", done.stderr), done.stderr


@pytest.mark.parametrize("name", CATALOGUES)
def test_the_compiled_translations_are_those_of_the_sources(updated: Path, name: str) -> None:
    assert read(ROOT / name) == read(updated / name), "run `make messages`"


@pytest.mark.parametrize("name", CATALOGUES)
def test_translations_have_the_placeholders_of_their_texts(name: str) -> None:
    for message, translation in read(ROOT / name).items():
        text = message[0] if isinstance(message, tuple) else str(message)  # (text, plural form)
        assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(translation)), text


@pytest.mark.parametrize("name", CATALOGUES)
def test_german_is_formal_and_uses_one_term_for_calls(name: str) -> None:
    german = "\n".join(read(ROOT / name).values())
    assert not re.search(r"\b(du|dich|dir|dein\w*|Anruf\w*|Call\w*|Meeting\w*)\b", german)


def test_a_site_can_translate_the_page_into_more_languages(msgfmt: str, tmp_path: Path) -> None:
    folder = tmp_path / "fr/LC_MESSAGES"
    folder.mkdir(parents=True)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n'
    (folder / "djangojs.po").write_text(f'{header}\nmsgid "Link copied"\nmsgstr "Lien copié"\n')
    subprocess.run([msgfmt, "djangojs.po", "-o", "djangojs.mo"], cwd=folder, check=True, timeout=60)
    with override_settings(LOCALE_PATHS=[tmp_path]), override("fr"):
        assert translations()["Link copied"] == "Lien copié"
