"""The security headers of the pages. Those that the site sends itself replace ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.response import ResponseHeaders
from django.template.loader import get_template
from django.templatetags.static import static

from rooms import outages

from .conf import conf

CSP = "Content-Security-Policy"
PERMISSIONS_POLICY = "camera=(self), microphone=(self), display-capture=(self)"
TEMPLATES = Path(__file__).parent / "templates"
View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class DefaultHeaders(ResponseHeaders):
    """Headers with defaults, which are sent unless a view or a middleware sets others.

    ``in``, ``get`` and ``setdefault`` ignore the defaults, because middleware that sets a policy
    (django-csp, Django 6) leaves a response alone that has one.
    """

    def __init__(self, headers: ResponseHeaders, defaults: dict[str, str]) -> None:
        super().__init__(dict(headers.items()))
        self._defaults = {name.lower(): (name, value) for name, value in defaults.items()}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._store

    def __getitem__(self, name: str) -> str:
        return str((self._defaults | self._store)[name.lower()][1])

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in (self._defaults | self._store).values())

    def __len__(self) -> int:
        return len(self._defaults | self._store)

    def get(self, name: str, default: Any = None) -> Any:
        return self._store.get(name.lower(), (name, default))[1]

    def pop(self, name: str, *default: Any) -> Any:
        self._defaults.pop(name.lower(), None)
        return super().pop(name, *default)


def secured(view: View) -> View:
    """Decorate a view: restrict the page to the site's own files, and allow camera and microphone.

    During an outage of the database, respond with 503.
    """

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            outages.check()
            response = view(*args, **kwargs)
        except Exception as error:
            if not outages.is_refusal(error):
                raise
            response = unavailable()
        defaults = {"Permissions-Policy": PERMISSIONS_POLICY}
        if _sends_policy():
            defaults[CSP] = _content_security_policy()
        response.headers = DefaultHeaders(response.headers, defaults)
        return response

    return cast(View, wrapper)


def unavailable() -> HttpResponse:
    """Return 503 with ``Retry-After``."""
    headers = {"Retry-After": str(outages.RETRY_AFTER)}
    return HttpResponse(outages.MESSAGE, content_type="text/plain", status=503, headers=headers)


def nonce(request: HttpRequest | None) -> str:
    """Return the nonce of the site's own policy, from django-csp or Django 6; or an empty string."""
    found = getattr(request, "csp_nonce", None)  # false until it is used, in both
    found = getattr(request, "_csp_nonce", None) if found is None else found
    return "" if found is None else str(found)


def _sends_policy() -> bool:
    policy = conf().content_security_policy
    return policy == "always" or (policy == "standalone" and _is_standalone())


def _is_standalone() -> bool:
    """Return whether the pages have our own base template, so that it loads nothing else."""
    base: Any = get_template("signalling/base.html")
    return Path(base.origin.name).is_relative_to(TEMPLATES)


def _content_security_policy() -> str:
    own = f"'self'{_static_origin()}"
    ancestors = " ".join(conf().frame_ancestors) or "'none'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {own}",
            f"style-src {own}",
            f"img-src {own}",
            # 'self' includes wss: on the same host and port (CSP 3, section 6.7.2.8).
            "connect-src 'self'",
            "form-action 'self'",
            # Browsers then ignore X-Frame-Options (CSP 3, section 6.4.2.2).
            f"frame-ancestors {ancestors}",
            "base-uri 'none'",
        )
    )


def _static_origin() -> str:
    parts = urlsplit(static("signalling/page/call.js"))
    return f" {parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""
