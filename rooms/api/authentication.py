"""SimpleJWT, with unexpected exceptions of its validators turned into ``InvalidToken``.

A correctly signed token with unexpected claims is an invalid token (RFC 7519, section 7.2), not
a server error. Examples: ``user_id: "abc"``, ``exp: 1e300``, a user that has been deleted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DataError, Error
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.serializers import TokenRefreshSerializer
from rest_framework_simplejwt.tokens import RefreshToken

from .tolerance import TolerantAuthentication, tolerant


@contextmanager
def raise_invalid_token() -> Iterator[None]:
    """Raise ``InvalidToken`` for every exception except API errors and database outages."""
    try:
        yield
    except (APIException, TokenError):
        raise
    except Exception as error:
        # DataError is not an outage: the database rejected the user ID.
        if isinstance(error, Error) and not isinstance(error, DataError):
            raise
        raise InvalidToken from error


class Authentication(TolerantAuthentication):
    """Authenticate with an access token in the header ``Authorization: Bearer …``.

    Raise ``InvalidToken`` (401).
    """

    def authenticate(self, request: Request) -> Any:
        with raise_invalid_token():
            return super().authenticate(request)


class RefreshSerializer(TokenRefreshSerializer):
    """The serializer for ``SIMPLE_JWT["TOKEN_REFRESH_SERIALIZER"]``.

    A refresh token that a password change has revoked is refused, as access tokens are.
    SimpleJWT's serializer checks only that the user is active.
    """

    token_class = tolerant(RefreshToken)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        with raise_invalid_token():
            Authentication().get_user(self.token_class(attrs["refresh"]))
            return super().validate(attrs)
