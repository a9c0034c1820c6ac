"""Template tags for pages with a call: ``{% load signalling %}``."""

from __future__ import annotations

from urllib.parse import urljoin

from django import template
from django.urls import get_script_prefix

from signalling.conf import conf

register = template.Library()


@register.simple_tag
def socket_path() -> str:
    """Return the path of the WebSocket, below the path at which the site is mounted."""
    return urljoin(get_script_prefix(), conf().socket_path)
