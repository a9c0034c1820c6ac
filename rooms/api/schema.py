"""OpenAPI, where the host site has drf-spectacular; the API needs it for nothing else."""

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

else:  # they register themselves

    class AuthenticationScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
        target_class = "rooms.api.authentication.Authentication"

    class RefreshSerializerExtension(TokenRefreshSerializerExtension):  # type: ignore[no-untyped-call]
        target_class = "rooms.api.authentication.RefreshSerializer"


__all__ = ["extend_schema"]
