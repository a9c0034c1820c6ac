"""The pages, the admin and the REST API in the language of the request."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.utils.functional import Promise
from django.utils.translation import override
from pytest_django import Settings

from rooms.models import Room
from signalling import page_texts

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "signalling/templates").rglob("*.html"))
PAGE = ROOT / "signalling/static/signalling/page"
GERMAN = {"accept-language": "de-AT,de;q=0.9"}


@pytest.fixture
def signed_in(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def embedded(page: str) -> dict[str, str]:
    """Return the translations in a page."""
    (found,) = re.findall(
        r'<script id="signalling-translations" type="application/json">(.*?)</script>', page
    )
    texts: dict[str, str] = json.loads(found)
    return texts


def test_pages_have_the_language_of_the_request(signed_in: Client, room: Room) -> None:
    home = signed_in.get("/", headers=GERMAN).text
    assert '<html lang="de" dir="ltr">' in home
    for text in ("Meine Räume", "Einem Raum beitreten", "Name (optional)", "Abmelden"):
        assert text in home
    call = signed_in.get("/r/NOWHERE/", headers=GERMAN).text
    assert "<title>Raum NOWHERE</title>" in call
    assert "Mikrofon stummschalten" in call
    assert embedded(call)["Join again."] == "Treten Sie erneut bei."
    login = Client().get("/login/", headers=GERMAN).text
    assert "Benutzername" in login


def test_pages_are_english_in_other_languages(signed_in: Client) -> None:
    call = signed_in.get("/r/NOWHERE/", headers={"accept-language": "fr"}).text
    assert '<html lang="en-gb" dir="ltr">' in call
    assert "Mute microphone" in call
    assert embedded(call) == {}


def test_pages_have_the_direction_of_their_language(client: Client, settings: Settings) -> None:
    settings.LANGUAGES = [("en-gb", "English"), ("he", "Hebrew")]
    page = client.get("/login/", headers={"accept-language": "he"}).text
    assert '<html lang="he" dir="rtl">' in page


def test_a_site_can_turn_translations_off(settings: Settings) -> None:
    with override("de"):
        assert page_texts.translations()
        settings.USE_I18N = False
        assert page_texts.translations() == {}


def test_errors_of_rest_have_the_language_of_the_request(signed_in: Client) -> None:
    error = signed_in.get("/api/rooms/NOWHERE/", headers=GERMAN).json()
    assert error["code"] == "room_not_found"
    assert error["detail"].startswith("Es gibt keinen Raum mit diesem Code.")


@pytest.mark.parametrize("name", ["Room", "Worker", "Participant"])
def test_the_admin_is_translated(name: str) -> None:
    model: Any = apps.get_model("signalling_rooms", name)
    shown: Any = admin.site.get_model_admin(model)
    names = {*shown.list_display, *shown.readonly_fields, *(shown.fields or ())}
    names |= {field.name for field in model._meta.fields if field.editable}
    for field in model._meta.fields:
        if field.name in names - {"id"}:
            assert isinstance(field.verbose_name, Promise), field.name
        assert isinstance(field.help_text, Promise) or not field.help_text, field.name
        for _, label in field.choices or ():
            assert label
    assert isinstance(model._meta.verbose_name, Promise)
    assert isinstance(model._meta.verbose_name_plural, Promise)
    for column in names - {field.name for field in model._meta.fields}:
        assert isinstance(getattr(shown, column).short_description, Promise), column


# --- No text is outside of the catalogues -------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_contain_no_untranslated_text(template: Path) -> None:
    text = re.sub(
        r"{% (block)translate.*?{% end\1translate %}", "", template.read_text(), flags=re.S
    )
    text = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}", "", text)
    attributes = re.findall(r'(?:aria-label|alt|placeholder|title)="([^"]+)"', text)
    assert attributes == []
    assert re.findall(r"\w+", re.sub(r"<[^>]*>", "", text)) == []


def test_modules_of_the_page_take_their_texts_from_the_two_modules_of_texts() -> None:
    for module in PAGE.glob("*.js"):
        code = re.sub(r"/\*.*?\*/|//.*|Error\(`.*?`\)", "", module.read_text(), flags=re.DOTALL)
        if module.name in {"texts.js", "error-texts.js"}:
            code = re.sub(r'\b_\("[^"]*"\)', "", code)
        literals = re.findall(r'"([^"\n]*)"|`([^`\n]*)`', code)
        texts = [
            text for pair in literals for text in pair if re.search(r"[A-Za-z]{2} [A-Za-z]", text)
        ]
        assert texts == [], module.name
