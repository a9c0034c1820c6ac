"""Tokens whose times are checked with a leeway, because the clocks of two servers differ.

SimpleJWT's default is 0: a token that one server has just issued is not valid yet for another one
whose clock is a second behind, and clients take that as final.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings

DEFAULT = timedelta(seconds=30)


def leeway() -> timedelta:
    """Return ``SIMPLE_JWT["LEEWAY"]``; 30 s if the site has not set it."""
    given: float | timedelta | None = getattr(settings, "SIMPLE_JWT", {}).get("LEEWAY", DEFAULT)
    return given if isinstance(given, timedelta) else timedelta(seconds=given or 0)


@cache
def tolerant(token_class: Any) -> Any:
    """Return the token class, with the leeway for ``exp``, ``nbf`` and ``iat`` (RFC 7519, 4.1)."""

    def get_token_backend(self: Any) -> Any:
        backend: Any = copy.copy(token_class.get_token_backend(self))
        backend.leeway = leeway()
        return backend

    return type(token_class.__name__, (token_class,), {"get_token_backend": get_token_backend})


class TolerantAuthentication(JWTAuthentication):
    """SimpleJWT's ``JWTAuthentication``, with the leeway."""

    def get_validated_token(self, raw_token: Any) -> Any:
        for token_class in api_settings.AUTH_TOKEN_CLASSES:
            with suppress(TokenError):
                return tolerant(token_class)(raw_token)
        return super().get_validated_token(raw_token)  # raises, with the reasons
