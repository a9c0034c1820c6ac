"""Template tags for pages with a call: ``{% load signalling %}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from django import template
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.shortcuts import resolve_url
from django.template.context import Context
from django.urls import get_script_prefix
from django.utils.html import format_html, json_script
from django.utils.http import escape_leading_slashes

from rooms import user_info
from signalling import page_headers, page_texts
from signalling.conf import conf

if TYPE_CHECKING:
    from rooms.models import Room

register = template.Library()


@register.inclusion_tag("signalling/embedded_call.html", takes_context=True)
def signalling_call(context: Context, room: Room, return_url: str = "") -> dict[str, Any]:
    """Render the call in a room as a part of the page: style sheet, script and controls.

    The template needs ``request``. ``return_url``: where the button after the end of the call leads;
    by default, to this page.
    """
    request = context["request"]
    return {
        "code": room.code,
        "title": room.name or room.code,
        "user": request.user,
        "return_url": return_url or escape_leading_slashes(request.get_full_path()),
    }


@register.simple_tag
def socket_path() -> str:
    """Return the path of the WebSocket, below the path at which the site is mounted."""
    return urljoin(get_script_prefix(), conf().socket_path)


@register.simple_tag(takes_context=True)
def login_url(context: Any) -> str:
    """Return the address of the site's login page, which leads back to this page."""
    request, page = context.request, resolve_url(settings.LOGIN_URL)
    is_elsewhere = urlsplit(page).netloc not in {"", request.get_host()}
    back = request.build_absolute_uri() if is_elsewhere else request.get_full_path()
    return redirect_to_login(back, page).url


@register.simple_tag(takes_context=True)
def csp_nonce(context: Context) -> str:
    """Return the attribute ``nonce`` for a script or style sheet, if the site's policy has a nonce."""
    nonce = page_headers.nonce(getattr(context, "request", None))
    return format_html(' nonce="{}"', nonce) if nonce else ""


@register.filter
def public_name(user: Any) -> str:
    """Return the name of a user that the other peers of a room see: ``{{ user|public_name }}``.

    Empty for an anonymous user, of whom ``USER_INFO`` knows nothing.
    """
    return user_info.label(user_info.describe(user)) if user.is_authenticated else ""


@register.simple_tag
def page_translations() -> str:
    """Return an element with the translations of the page's JavaScript."""
    return json_script(page_texts.translations(), "signalling-translations")
