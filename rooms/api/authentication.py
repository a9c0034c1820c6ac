"""SimpleJWT where its own validators raise what they do not say.

A token that we signed, yet whose claims no code of ours wrote, is an invalid token (RFC 7519, 7.2)
and no server error: ``user_id: "abc"``, ``exp: 1e300``, a user who was deleted since.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DataError, Error
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.serializers import TokenRefreshSerializer


@contextmanager
def invalid_token_at_worst() -> Iterator[None]:
    """Turn any exception into ``InvalidToken`` but refusals, and a database that is away."""
    try:
        yield
    except (APIException, TokenError):
        raise
    except Exception as error:
        # DataError: the database is well, and says that no user can have such an id.
        if isinstance(error, Error) and not isinstance(error, DataError):
            raise
        raise InvalidToken from error


class Authentication(JWTAuthentication):
    """Access tokens in the header ``Authorization: Bearer …``, as ``JWTAuthentication`` reads them."""

    def authenticate(self, request: Request) -> Any:
        with invalid_token_at_worst():
            return super().authenticate(request)


class RefreshSerializer(TokenRefreshSerializer):
    """For ``SIMPLE_JWT["TOKEN_REFRESH_SERIALIZER"]``."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        with invalid_token_at_worst():
            return super().validate(attrs)
