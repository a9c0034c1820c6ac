"""Template tags for pages with a call: ``{% load signalling %}``."""

from __future__ import annotations

from urllib.parse import urljoin

from django import template
from django.template.context import Context
from django.urls import get_script_prefix
from django.utils.html import format_html

from signalling import page_headers
from signalling.conf import conf

register = template.Library()


@register.simple_tag
def socket_path() -> str:
    """Return the path of the WebSocket, below the path at which the site is mounted."""
    return urljoin(get_script_prefix(), conf().socket_path)


@register.simple_tag(takes_context=True)
def csp_nonce(context: Context) -> str:
    """Return the attribute ``nonce`` for a script or style sheet, if the site's policy has a nonce."""
    nonce = page_headers.nonce(getattr(context, "request", None))
    return format_html(' nonce="{}"', nonce) if nonce else ""
