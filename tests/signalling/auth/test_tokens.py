from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import OperationalError
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.state import token_backend
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from rooms.api.tolerance import TolerantAuthentication
from signalling.auth import revocation, simple_jwt, tokens
from signalling.auth.identity import Identity, TokenRefused
from signalling.protocol import TOKEN_LENGTH, CloseCode
from tests.conftest import access_token

KEY = str(django_settings.SIMPLE_JWT["SIGNING_KEY"])


def forged(key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """Return a signed token with any claims."""
    good: dict[str, Any] = {
        "token_type": "access",
        "exp": datetime.now(UTC) + timedelta(minutes=5),
        "jti": "a",
        "user_id": "1",
    }
    return jwt.encode({**good, **claims}, key, algorithm=algorithm)


def refusal(token: str) -> str:
    with pytest.raises(TokenRefused) as refused:
        tokens.authenticate(token)
    assert refused.value.close == CloseCode.AUTHENTICATION
    assert refused.value.message
    return str(refused.value.code)


# --- Validation -----------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_access_token_proves_a_user_and_an_expiry(bob: User) -> None:
    token = AccessToken.for_user(bob)
    identity = tokens.authenticate(str(token))
    assert identity.user == bob
    assert identity.expires_at == datetime.fromtimestamp(token["exp"], UTC)
    assert not identity.has_expired


@pytest.mark.django_db
def test_a_refresh_token_proves_nothing(bob: User) -> None:
    assert refusal(str(RefreshToken.for_user(bob))) == "token_invalid"


@pytest.mark.django_db
@pytest.mark.parametrize("claim", ["iss", "aud"])
def test_a_token_without_the_required_issuer_or_audience_proves_nothing(
    bob: User, claim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = {"user_id": bob.pk, "hash_password": AccessToken.for_user(bob)["hash_password"]}
    monkeypatch.setattr(token_backend, {"iss": "issuer", "aud": "audience"}[claim], "ours")
    assert refusal(forged(**claims)) == "token_invalid"
    assert refusal(forged(**claims, **{claim: "theirs"})) == "token_invalid"
    assert tokens.authenticate(forged(**claims, **{claim: "ours"})).user == bob


@pytest.mark.django_db
def test_a_blacklisted_token_is_revoked_at_once_and_later(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of SimpleJWT's blacklist are not installed here."""
    token, other = AccessToken.for_user(bob), AccessToken.for_user(bob)
    first, second = tokens.authenticate(str(token)), tokens.authenticate(str(other))
    monkeypatch.setattr(apps, "is_installed", lambda name: name == simple_jwt.BLACKLIST)
    monkeypatch.setattr(simple_jwt, "_blacklisted", {token["jti"]}.intersection)
    assert refusal(str(token)) == "token_revoked"
    with pytest.raises(TokenRefused):
        revocation.read_user(first)
    assert revocation.read_user(second) == bob
    assert revocation.find_lost([second]) == set()
    assert revocation.find_lost([first, second]) == {bob.pk}


@pytest.mark.django_db
@pytest.mark.parametrize("is_checked", [True, False])
def test_a_password_change_revokes_a_presented_token_in_every_site(
    bob: User, is_checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_settings, "CHECK_REVOKE_TOKEN", is_checked)
    identity = tokens.authenticate(access_token(bob))
    assert revocation.read_user(identity) == bob
    bob.set_password("another horse")
    bob.save()
    with pytest.raises(TokenRefused) as refused:
        revocation.read_user(identity)
    assert refused.value.code == "token_revoked"


@pytest.mark.django_db
def test_an_expired_token_has_its_own_code(bob: User) -> None:
    token = AccessToken.for_user(bob)
    token.set_exp(lifetime=-timedelta(seconds=1))
    assert refusal(str(token)) == "token_expired"


@pytest.mark.django_db
def test_the_token_of_an_inactive_user_has_its_own_code(bob: User) -> None:
    token = access_token(bob)
    bob.is_active = False
    bob.save()
    assert refusal(token) == "user_inactive"


@pytest.mark.django_db
def test_a_password_change_revokes_tokens(bob: User) -> None:
    token = access_token(bob)
    bob.set_password("another horse")
    bob.save()
    assert refusal(token) == "token_revoked"


@pytest.mark.django_db
def test_the_token_of_a_deleted_user_is_invalid(bob: User) -> None:
    token = access_token(bob)
    bob.delete()
    assert refusal(token) == "token_invalid"


@pytest.mark.parametrize("token", ["", " ", "a", "a.b", "a.b.c", "é.é.é", "\x00", "." * 5000])
def test_malformed_tokens_are_invalid(token: str) -> None:
    assert refusal(token) == "token_invalid"


@pytest.mark.django_db
def test_a_token_signed_with_another_key_is_invalid(bob: User) -> None:
    assert refusal(forged(key="x" * 48, user_id=str(bob.pk))) == "token_invalid"
    assert refusal(forged(key="", algorithm="none", user_id=str(bob.pk))) == "token_invalid"
    assert refusal(forged(algorithm="HS512", user_id=str(bob.pk))) == "token_invalid"


@pytest.mark.django_db
def test_a_modified_token_is_invalid(bob: User) -> None:
    head, body, signature = access_token(bob).split(".")
    assert refusal(f"{head}.{body[:-2]}AA.{signature}") == "token_invalid"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "claims",
    [
        {"exp": "soon"},
        {"exp": None},
        {"exp": 2**70},
        {"exp": {"a": 1}},
        {"exp": float("inf")},
        {"user_id": None},
        {"user_id": "bob"},
        {"user_id": {}},
        {"user_id": []},
        {"user_id": "\x00"},
        {"user_id": 2**80},
        {"user_id": "9" * 400},
        {"user_id": True},
        {"token_type": "refresh"},
        {"token_type": None},
        {"token_type": ["access"]},
        {"jti": None},
        {"nbf": "later"},
        {"iat": "before"},
        {"aud": "someone"},
        {"hash_password": 5},
    ],
)
def test_signed_tokens_with_unusual_claims_raise_only_token_refused(
    bob: User, claims: dict[str, Any]
) -> None:
    token = forged(**{"user_id": str(bob.pk), **claims})
    assert refusal(token) in {"token_invalid", "token_expired", "token_revoked"}


def test_a_database_error_does_not_invalidate_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object) -> None:
        raise OperationalError

    monkeypatch.setattr(JWTAuthentication, "get_user", fail)
    with pytest.raises(OperationalError):
        tokens.authenticate(forged())


@pytest.mark.parametrize(
    ("expires_in", "has_expired"), [(None, False), (5, False), (0, True), (-5, True)]
)
def test_an_identity_expires_with_its_token(expires_in: int | None, has_expired: bool) -> None:
    expires_at = None
    if expires_in is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=expires_in)
    assert Identity(user=User(), expires_at=expires_at).has_expired is has_expired


# --- Finding the token ------------------------------------------------------------------------

HEADER = (b"authorization", b"Bearer from-header")
PROTOCOL = (b"sec-websocket-protocol", b"signalling.v1, bearer.from-protocol")
QUERY = b"token=from-query"


@pytest.mark.parametrize(
    ("headers", "query", "token"),
    [
        ([HEADER, PROTOCOL], QUERY, "from-header"),
        ([PROTOCOL], QUERY, "from-protocol"),
        ([], QUERY, "from-query"),
        ([], b"", None),
        ([(b"authorization", b"bearer  x ")], b"", "x"),
        ([(b"authorization", b"Basic eDp5"), PROTOCOL], b"", "from-protocol"),
        ([(b"authorization", b"Bearer")], QUERY, ""),  # the first one found counts
        ([(b"authorization", b"")], QUERY, "from-query"),
        ([(b"sec-websocket-protocol", b"signalling.v1")], QUERY, "from-query"),
        ([(b"sec-websocket-protocol", b" ,bearer.a.b.c,")], b"", "a.b.c"),
        ([(b"sec-websocket-protocol", b"bearer.")], b"", ""),
        ([(b"authorization", b"Bearer \xff")], b"", "ÿ"),
        ([(b"sec-websocket-protocol", b"signalling.v1"), PROTOCOL], b"", "from-protocol"),
        ([PROTOCOL, (b"sec-websocket-protocol", b"signalling.v1")], b"", "from-protocol"),
        # This header is no list: with two lines, it is invalid on every server in the same way.
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], b"", "a, Bearer b"),
        ([], b"x=1&token=a%2Eb&y=2", "a.b"),
        ([], b"token=", None),
        ([], b"tokens=a", None),
        ([], b"a=1&" * 99 + b"token=a", "a"),
        ([], b"a=1&" * 100 + b"token=a", None),
        ([], b"\xff=\xfe&token=a", "a"),
    ],
)
def test_the_first_token_found_counts(
    headers: list[tuple[bytes, bytes]], query: bytes, token: str | None
) -> None:
    assert tokens.find(headers, query) == token


@pytest.mark.parametrize(
    ("query", "redacted"),
    [
        (b"", b""),
        (b"token=secret", b""),
        (b"a=1&token=secret&b=", b"a=1&b="),
        (b"token=secret&token=secret", b""),
        (b"%74oken=secret", b""),
        (b"a=%20&=&b&+token=1", b"a=%20&=&b&+token=1"),
        (b"&".join([b"a=1"] * 101), b""),
        (b"a=" + b"x" * 32_768, b""),
    ],
)
def test_redact_removes_the_token_from_a_query(query: bytes, redacted: bytes) -> None:
    assert tokens.redact(query) == redacted


def test_subprotocols_are_a_list_of_names() -> None:
    lines = [b"a,  b ,,c", b"", b"d"]
    headers = [(b"sec-websocket-protocol", line) for line in lines]
    assert tokens.subprotocols(headers) == ["a", "b", "c", "d"]
    assert tokens.subprotocols([]) == []


# --- Edges ----------------------------------------------------------------------------------


def test_a_query_of_twice_the_longest_token_is_read() -> None:
    rest = b"&token=a"
    longest = b"x" * (2 * TOKEN_LENGTH - len(rest)) + rest
    assert tokens.find([], longest) == "a"
    assert tokens.find([], b"x" + longest) is None


@pytest.mark.django_db
def test_every_class_of_tokens_is_asked_whether_it_has_expired(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherToken(AccessToken):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise TokenError("not of this class")

    token = AccessToken.for_user(bob)
    token.set_exp(lifetime=-timedelta(seconds=1))
    monkeypatch.setattr(api_settings, "AUTH_TOKEN_CLASSES", (OtherToken, AccessToken))
    assert refusal(str(token)) == "token_expired"


@pytest.mark.parametrize(("length", "is_read"), [(TOKEN_LENGTH, True), (TOKEN_LENGTH + 1, False)])
def test_only_tokens_up_to_the_longest_are_read(
    length: int, is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    def get_validated_token(self: object, raw: bytes) -> None:
        read.append(raw)
        raise InvalidToken

    monkeypatch.setattr(TolerantAuthentication, "get_validated_token", get_validated_token)
    assert refusal("x" * length) == "token_invalid"
    assert bool(read) is is_read
