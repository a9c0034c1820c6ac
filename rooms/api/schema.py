"""OpenAPI schema, if drf-spectacular is installed. The API works without it."""

from collections.abc import Callable
from typing import Any

try:
    from drf_spectacular.contrib.rest_framework_simplejwt import (
        SimpleJWTScheme,
        TokenRefreshSerializerExtension,
    )
    from drf_spectacular.utils import extend_schema
except ImportError:

    def extend_schema(**kwargs: Any) -> Callable[[Any], Any]:  # type: ignore[misc]
        return lambda view: view

else:  # drf-spectacular registers the subclasses

    class AuthenticationScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
        target_class = "rooms.api.authentication.Authentication"

    class RefreshSerializerExtension(TokenRefreshSerializerExtension):  # type: ignore[no-untyped-call]
        target_class = "rooms.api.authentication.RefreshSerializer"


__all__ = ["extend_schema"]
