"""Authentication of the REST API with SimpleJWT, by the rules of ``tolerance``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework_simplejwt.serializers import TokenRefreshSerializer
from rest_framework_simplejwt.tokens import RefreshToken

from rooms import key_server, outages
from rooms.key_server import KeysUnavailable

from .tolerance import TolerantAuthentication, fetch_keys, tolerant


class KeyServerUnavailable(APIException):
    """The token cannot be checked now: 503."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = outages.MESSAGE
    default_code = "unavailable"
    wait = outages.RETRY_AFTER
    """Sent as ``Retry-After`` by Django REST framework."""


@contextmanager
def key_of(raw_token: str | bytes) -> Iterator[None]:
    """Wait a moment for the key of a token. Raise ``KeyServerUnavailable`` if it is needed and missing."""
    wait(fetch_keys(raw_token), key_server.SECONDS)
    try:
        yield
    except KeysUnavailable as error:
        raise KeyServerUnavailable from error


class Authentication(TolerantAuthentication):
    """Authenticate with an access token in the header ``Authorization: Bearer …``.

    Raise ``InvalidToken`` (401), or ``KeyServerUnavailable`` after at most two seconds.
    """

    def get_validated_token(self, raw_token: Any) -> Any:
        with key_of(raw_token):
            return super().get_validated_token(raw_token)


class RefreshSerializer(TokenRefreshSerializer):
    """The serializer for ``SIMPLE_JWT["TOKEN_REFRESH_SERIALIZER"]``.

    A refresh token that a password change has revoked is refused, as access tokens are.
    SimpleJWT's serializer checks only that the user is active.
    """

    token_class = tolerant(RefreshToken)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        with key_of(attrs["refresh"]):
            Authentication().get_user(self.token_class(attrs["refresh"]))
            return super().validate(attrs)
