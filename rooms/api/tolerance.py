"""Access tokens of SimpleJWT, by the site's ``SIMPLE_JWT``.

It differs from SimpleJWT's own classes in three ways: the times in tokens have a leeway
(``rooms.leeway``), no token waits for a key server (``rooms.key_server``), and signed tokens with
claims that SimpleJWT never issues are invalid (RFC 7519, section 7.2). SimpleJWT raises all kinds of
exceptions for these. Any other exception is a bug or an outage, and says nothing about the token.
"""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import DataError
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.settings import api_settings

from rooms.key_server import KeyServer, key_server
from rooms.leeway import leeway

_UNUSUAL = (TypeError, ValueError, OverflowError, ValidationError, DataError)


@contextmanager
def refuse_unusual_claims() -> Iterator[None]:
    """Raise ``InvalidToken`` for exceptions that values of the wrong type or size cause."""
    try:
        yield
    except _UNUSUAL as error:
        raise InvalidToken from error
    except OSError as error:
        if error.errno != errno.EOVERFLOW:  # of ``datetime.fromtimestamp``
            raise
        raise InvalidToken from error


@cache
def tolerant(token_class: Any) -> Any:
    """Return the token class, with the leeway for ``exp``, ``nbf`` and ``iat`` (RFC 7519, 4.1).

    Its instances raise ``TokenError``, ``InvalidToken`` or ``KeysUnavailable``.
    """

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            with refuse_unusual_claims():
                token_class.__init__(self, *args, **kwargs)
        except RecursionError:  # of PyJWT before 2.14, for a header that anyone may have written
            raise TokenError("The token is nested too deeply") from None

    def get_token_backend(self: Any) -> Any:
        backend: Any = copy.copy(token_class.get_token_backend(self))
        backend.leeway = leeway()
        if backend.jwks_client is not None:
            backend.jwks_client = key_server(backend.jwks_client)
        return backend

    members = {"__init__": __init__, "get_token_backend": get_token_backend}
    return type(token_class.__name__, (token_class,), members)


def fetch_keys(raw_token: str | bytes) -> list[Future[None]]:
    """Fetch the keys of ``JWK_URL`` if a token needs it. Return what to wait for."""
    fetches = [server.fetch(raw_token) for server in _key_servers()]
    return [fetch for fetch in fetches if fetch is not None]


class TolerantAuthentication(JWTAuthentication):
    """SimpleJWT's ``JWTAuthentication``, with the differences above."""

    def get_validated_token(self, raw_token: Any) -> Any:
        reasons = []
        for token_class in api_settings.AUTH_TOKEN_CLASSES:
            try:
                return tolerant(token_class)(raw_token)
            except TokenError as error:
                reasons.append({"token_class": token_class.__name__, "message": str(error)})
        raise InvalidToken({"messages": reasons})

    def get_user(self, validated_token: Any) -> Any:
        _check_user_id(validated_token)
        try:
            return super().get_user(validated_token)
        except (DataError, OverflowError) as error:  # an id that no row can have
            raise InvalidToken from error


def _check_user_id(token: Any) -> None:
    users, name = get_user_model(), api_settings.USER_ID_FIELD
    try:
        field: Any = users._meta.pk if name == "pk" else users._meta.get_field(name)
    except FieldDoesNotExist:  # a lookup, such as "profile__number"
        return
    value = token.get(api_settings.USER_ID_CLAIM)
    with refuse_unusual_claims():
        field.get_prep_value(value)
    if "\x00" in str(value):  # PostgreSQL stores none
        raise InvalidToken


def _key_servers() -> set[KeyServer]:
    classes = [tolerant(token_class) for token_class in api_settings.AUTH_TOKEN_CLASSES]
    backends = [each.get_token_backend(each.__new__(each)) for each in classes]
    return {
        backend.jwks_client
        for backend in backends
        if backend.jwks_client is not None and not backend.algorithm.startswith("HS")
    }
