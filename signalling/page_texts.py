"""The translations of the call page's JavaScript, which the page contains as JSON.

They come with the page, so that they need no request and no script of their own, and have the same
language. ``signalling/static/signalling/page/gettext.js`` reads them.
"""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.utils.translation import get_language
from django.utils.translation.trans_real import DjangoTranslation
from django.views.i18n import JavaScriptCatalog

LOCALE = Path(__file__).parent / "locale"


class _Catalogue(JavaScriptCatalog):
    """Django's view, for what it reads from the catalogues."""

    def __init__(self, language: str, folders: list[str]) -> None:
        super().__init__()
        self.translation = DjangoTranslation(language, domain="djangojs", localedirs=folders)


def translations() -> dict[str, str]:
    """Return the English texts with their translations into the current language.

    Catalogues ``djangojs`` in the site's ``LOCALE_PATHS`` have precedence over ours.
    """
    language = get_language()
    if not settings.USE_I18N or language is None:
        return {}
    folders = [str(LOCALE), *map(str, reversed(settings.LOCALE_PATHS))]
    found = _Catalogue(language, folders).get_catalog()
    return {text: value for text, value in found.items() if isinstance(value, str)}
