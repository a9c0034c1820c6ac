"""Access tokens in a cookie (``SIGNALLING["TOKEN_COOKIE"]``), as dj-rest-auth sets it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from tests.conftest import access_token
from tests.signalling.sockets import AppSocket
from tests.signalling.worker.revoking import PAGE, change, key_of, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

FOREIGN = {"host": "localhost", "origin": "https://app.example.org"}


@pytest.fixture(autouse=True)
def cookie_setting(settings: Settings) -> None:
    settings.SIGNALLING = {
        "TOKEN_COOKIE": "access",
        "ALLOWED_ORIGINS": [FOREIGN["origin"]],
    }


async def code_of(headers: dict[str, str]) -> str:
    """Open a socket and ping. Return the event or the code of the first frame."""
    socket = AppSocket(headers=headers)
    await socket.connect()
    await socket.send("ping")
    frame = await socket.receive_frame()
    await socket.disconnect()
    return str(frame["data"].get("code", frame["event"]))


async def test_a_page_of_the_site_needs_no_other_token(bob: User) -> None:
    assert await code_of({**PAGE, "cookie": f"a=1; access={access_token(bob)}"}) == "pong"


@pytest.mark.parametrize(
    "headers", [FOREIGN, {"host": "localhost"}, {"host": "other.example.org", **FOREIGN}]
)
async def test_a_cookie_of_another_page_proves_nothing(bob: User, headers: dict[str, str]) -> None:
    """Any page can open a socket with the cookies of its visitor."""
    cookie = f"access={access_token(bob)}"
    assert await code_of({**headers, "cookie": cookie}) == "authentication_required"


async def test_the_cookie_comes_after_other_tokens_and_before_the_session(
    alice: User, bob: User
) -> None:
    session = f"sessionid={key_of(await change(sign_in, bob))}"
    bearer = {"authorization": f"Bearer {access_token(alice)}"}
    assert await code_of({**PAGE, **bearer, "cookie": "access=wrong"}) == "pong"
    assert await code_of({**PAGE, "cookie": f"access=wrong; {session}"}) == "token_invalid"
    assert await code_of({**PAGE, "cookie": f"access=; {session}"}) == "pong"


async def test_no_cookie_counts_unless_it_is_named(bob: User, settings: Settings) -> None:
    settings.SIGNALLING = {}
    cookie = f"access={access_token(bob)}"
    assert await code_of({**PAGE, "cookie": cookie}) == "authentication_required"
