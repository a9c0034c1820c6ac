"""Origins of pages: the site's own, and those in ``SIGNALLING["ALLOWED_ORIGINS"]``.

An origin is a scheme, a host and a port; the port of its scheme is left out (RFC 6454, section 6.2).
The site's own is compared with ``HttpRequest.get_host()``, so Django's settings for proxies apply.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.request import split_domain_port

Scope = dict[str, Any]

ANY = "*"
OPAQUE = ("null", "file://")
"""What pages without a host send: sandboxed frames, ``data:`` and ``file:`` URLs."""
PORTS = {"http": "80", "https": "443"}

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_PATTERN = re.compile(
    r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|(?:\*\.)?[a-z0-9._-]+)(?::([0-9]{1,5}|\*))?"
)


class Origin(NamedTuple):
    """An origin or, with wildcards, a pattern for origins. All parts are in lower case."""

    scheme: str
    host: str
    port: str
    """Empty for schemes without a default port."""

    def matches(self, origin: Origin) -> bool:
        """Return whether this pattern matches an origin."""
        return (
            self.scheme == origin.scheme
            and self.port in {ANY, origin.port}
            and self._matches_host(origin.host)
        )

    def _matches_host(self, host: str) -> bool:
        if self.host.startswith("*."):
            return host.endswith(self.host[1:]) and host != self.host[1:]
        if self.host.startswith("."):  # as in ALLOWED_HOSTS
            return host.endswith(self.host) or host == self.host[1:]
        return host == self.host


def parse(origin: str) -> Origin | None:
    """Return the origin in an ``Origin`` header, ``None`` if it has no host."""
    return _parse(_ORIGIN, origin)


@cache
def parse_pattern(pattern: str) -> Origin | None:
    """Return a pattern of ``ALLOWED_ORIGINS`` other than ``ANY`` and ``OPAQUE``; ``None`` if invalid.

    ``*.`` before the host stands for its subdomains, ``.`` for the host and its subdomains, and the
    port ``*`` for any port. A host with other characters than ASCII is written as browsers send it.
    """
    return _parse(_PATTERN, pattern)


def is_allowed(origin: str, patterns: list[str]) -> bool:
    """Return whether an ``Origin`` header is in a value of ``ALLOWED_ORIGINS``."""
    if ANY in patterns:
        return True
    parsed = parse(origin)
    if parsed is None:
        return origin in OPAQUE and origin in patterns
    found = (parse_pattern(pattern) for pattern in patterns)
    return any(pattern is not None and pattern.matches(parsed) for pattern in found)


def is_own(scope: Scope, origin: str) -> bool:
    """Return whether an origin is the site's own, by the rules of ``HttpRequest.get_host``.

    These also check ``ALLOWED_HOSTS``, against DNS rebinding: a hostile name that resolves to this
    server would match any Host header.

    A page that was loaded over plain HTTP is not the site's own if the site uses HTTPS: an attacker
    on the network can forge such pages.
    """
    parsed, request = parse(origin), _request(scope)
    if parsed is None or parsed.scheme not in PORTS:
        return False
    if parsed.scheme == "http" and _is_https(scope, request):
        return False
    try:
        host, port = split_domain_port(request.get_host())
    except DisallowedHost:
        return False
    if not port and settings.USE_X_FORWARDED_PORT:
        port = request.META.get("HTTP_X_FORWARDED_PORT", "")
    return host == parsed.host and (port or PORTS[parsed.scheme]) == parsed.port


def _parse(form: re.Pattern[str], text: str) -> Origin | None:
    found = form.fullmatch(text.lower())
    if found is None:
        return None
    scheme, host, port = found.groups()
    return Origin(scheme, host, port or PORTS.get(scheme, ""))


def _request(scope: Scope) -> HttpRequest:
    """Return a request with the headers of a handshake, as ``ASGIRequest`` reads them."""
    request = HttpRequest()
    request.META = {"SERVER_NAME": "", "SERVER_PORT": "80"}
    for name, value in scope["headers"]:
        if b"_" in name:  # it could pass for a header with a hyphen
            continue
        key = f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"
        text = value.decode("latin-1")
        request.META[key] = f"{request.META[key]},{text}" if key in request.META else text
    return request


def _is_https(scope: Scope, request: HttpRequest) -> bool:
    """Return whether the site is known to use HTTPS.

    A proxy may have decrypted the connection without a header: then HTTPS is possible, not known.
    """
    return bool(settings.SECURE_SSL_REDIRECT or scope.get("scheme") == "wss" or request.is_secure())
