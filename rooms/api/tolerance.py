"""SimpleJWT's tokens, whose times are checked with the leeway of ``rooms.leeway``."""

from __future__ import annotations

import copy
from contextlib import suppress
from functools import cache
from typing import Any

from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings

from rooms.leeway import leeway


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
