"""Sockets of sessions that are signed out, deleted, rotated or expired, with each engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, user_logged_out
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from rooms.models import Participant, Room
from signalling.auth import revocation
from signalling.middleware import SessionRotationMiddleware
from signalling.worker import pushes
from tests.conftest import PASSWORD
from tests.patience import PATIENCE
from tests.signalling.sockets import open_socket
from tests.signalling.worker.revoking import (
    NEW_PASSWORD,
    assert_closed,
    change,
    key_of,
    open_page,
    set_password,
    sign_in,
    sweep,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_pause")]

STORED = ["db", "cache", "cached_db", "file"]


@pytest.fixture(params=[*STORED, "signed_cookies"])
def engine(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> str:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    return str(request.param)


@pytest.mark.usefixtures("engine")
async def test_a_sign_out_closes_the_sockets_of_that_session(bob: User) -> None:
    here, elsewhere = await change(sign_in, bob), await change(sign_in, bob, is_elsewhere=True)
    socket, other = await open_page(here), await open_page(elsewhere)
    await change(sign_out, here)
    await assert_closed(socket, "token_revoked")
    await other.receive_nothing()
    await other.disconnect()


def sign_out(client: Client) -> None:
    assert client.post("/logout/").status_code == 302


@pytest.mark.usefixtures("engine")
async def test_a_password_change_keeps_the_session_that_made_it(bob: User) -> None:
    await User.objects.filter(pk=bob.pk).aupdate(is_staff=True)
    here, elsewhere = await change(sign_in, bob), await change(sign_in, bob, is_elsewhere=True)
    own, other, api = await open_page(here), await open_page(elsewhere), await open_socket(bob)
    form = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    response = await change(here.post, "/admin/password_change/", form)
    assert response.status_code == 302
    await assert_closed(api, "token_revoked")
    await assert_closed(other, "token_revoked")
    await sweep()
    await asyncio.sleep(0.2)
    await own.receive_nothing()
    await change(sign_out, here)  # under its new key
    await assert_closed(own, "token_revoked")


async def test_a_sign_out_on_the_event_loop_is_pushed_too(bob: User) -> None:
    """Views on the event loop may sign out a session that is not in the database."""
    client = await change(sign_in, bob)
    socket = await open_page(client)
    request = RequestFactory().get("/")
    request.session = client.session
    user_logged_out.send(User, request=request, user=bob)
    await assert_closed(socket, "token_revoked")


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_session_that_gets_a_new_key_is_followed(bob: User, is_async: bool) -> None:
    client = await change(sign_in, bob)
    socket = await open_page(client)
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = key_of(client)

    def rotate(request: HttpRequest) -> HttpResponse:
        request.session = SessionStore(key_of(client))
        request.session.cycle_key()
        return HttpResponse()

    if is_async:
        await SessionRotationMiddleware(sync_to_async(rotate))(request)
    else:
        await change(SessionRotationMiddleware(rotate), request)
    await sweep()
    await asyncio.sleep(0.2)
    await socket.receive_nothing()
    await socket.disconnect()


@pytest.mark.parametrize("is_signed_in", [False, True])
async def test_only_a_new_key_of_a_signed_in_session_is_pushed(
    bob: User, is_signed_in: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = AsyncMock()
    monkeypatch.setattr(pushes, "push", push)
    client = await change(sign_in, bob)
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = key_of(client) if is_signed_in else "former"

    def view(request: HttpRequest) -> HttpResponse:
        request.session = SessionStore(key_of(client))
        if not is_signed_in:
            request.session.flush()
            request.session.create()
        return HttpResponse()

    await change(SessionRotationMiddleware(view), request)
    push.assert_not_awaited()


async def test_a_view_may_save_its_session_long_after_the_user(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await change(sign_in, bob)
    socket = await open_page(client)
    original, checks = revocation.check_all, []

    def check_all(held: Any) -> Any:
        errors = original(held)
        checks.append(errors)
        if len(checks) == 1:
            session = client.session
            session[HASH_SESSION_KEY] = User.objects.get().get_session_auth_hash()
            session.save()
        return errors

    monkeypatch.setattr(revocation, "check_all", check_all)
    await change(set_password, bob)
    async with asyncio.timeout(PATIENCE):
        while len(checks) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await socket.receive_nothing()
    assert [error is None for (error,) in checks] == [False, True]
    await socket.disconnect()


@pytest.mark.parametrize("engine", ["cache"], indirect=True)
@pytest.mark.usefixtures("engine")
async def test_a_cache_that_lost_everything_ends_no_call(bob: User) -> None:
    socket = await open_page(await change(sign_in, bob))
    await change(cache.clear)
    await sweep()
    await sweep()
    await bob.asave()  # pushes bob
    await asyncio.sleep(0.3)
    await socket.receive_nothing()
    await User.objects.filter(pk=bob.pk).aupdate(password="other")
    await sweep()
    await assert_closed(socket, "token_revoked")


async def test_a_session_that_belongs_to_another_user_is_revoked(alice: User, bob: User) -> None:
    client = await change(sign_in, bob)
    socket = await open_page(client)

    def sign_in_another_user() -> None:
        session = client.session
        session[SESSION_KEY] = str(alice.pk)
        session[HASH_SESSION_KEY] = alice.get_session_auth_hash()
        session.save()

    await change(sign_in_another_user)
    await bob.asave()  # pushes bob
    await assert_closed(socket, "token_revoked")


async def test_a_session_of_a_backend_that_was_removed_proves_nothing(
    bob: User, settings: Settings
) -> None:
    client = await change(sign_in, bob)
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    socket = await open_page(client)
    await socket.send("ping")
    await assert_closed(socket, "authentication_required")


@pytest.mark.parametrize("engine", STORED, indirect=True)
@pytest.mark.usefixtures("engine")
async def test_a_session_that_was_deleted_without_a_signal_is_swept(bob: User) -> None:
    client = await change(sign_in, bob)
    socket = await open_page(client)
    await sweep()
    await change(lambda: client.session.flush())
    await sweep()
    await assert_closed(socket, "token_revoked")


async def test_an_expired_session_keeps_the_call_but_joins_no_other(room: Room, bob: User) -> None:
    socket = await open_page(await change(sign_in, bob))
    await socket.join()
    await Session.objects.aupdate(expire_date="2020-01-01T00:00:00Z")
    await sweep()
    await Session.objects.all().adelete()  # as ``clearsessions`` does
    await sweep()
    await bob.asave()  # pushes bob
    await asyncio.sleep(0.2)
    await socket.receive_nothing()
    await socket.request("leave:room")
    answer = await socket.request("join:room", {"roomCode": "ABC123"})
    assert answer["data"]["code"] == "token_expired"
    await socket.receive_nothing()
    await socket.disconnect()


async def test_a_handshake_does_not_change_a_session_with_a_former_secret(
    bob: User, settings: Settings
) -> None:
    client = await change(sign_in, bob)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "n" * 50
    before = await Session.objects.values().aget()
    socket = await open_page(client)
    await sweep()
    await asyncio.sleep(0.2)
    await socket.receive_nothing()
    assert await Session.objects.values().aget() == before
    await socket.disconnect()


@pytest.mark.usefixtures("engine")
async def test_after_a_change_of_the_secret_a_socket_leaves_the_user_signed_in(
    bob: User, settings: Settings
) -> None:
    """The socket comes first; then the page replaces the key of the session."""
    client = await change(sign_in, bob)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "n" * 50
    before = key_of(client)
    socket = await open_page(client)
    await socket.receive_nothing()
    page = await change(client.get, "/")
    assert page.context["user"] == bob
    assert key_of(client) != before
    assert (await change(client.get, "/")).context["user"] == bob
    await sweep()
    await asyncio.sleep(0.2)
    await socket.receive_nothing()
    await socket.disconnect()


# --- Acts of a session that has been revoked without a signal -----------------------------------


async def delete_session() -> None:
    await Session.objects.all().adelete()


async def update_password() -> None:
    await User.objects.aupdate(password="other")


async def deactivate_users() -> None:
    await User.objects.aupdate(is_active=False)


@pytest.mark.parametrize("is_resume", [False, True])
@pytest.mark.parametrize(
    ("revoke", "code"),
    [
        (delete_session, "token_revoked"),
        (update_password, "token_revoked"),
        (deactivate_users, "user_inactive"),
    ],
)
async def test_each_join_and_resume_reads_the_session_again(
    room: Room, bob: User, is_resume: bool, revoke: Callable[[], Awaitable[None]], code: str
) -> None:
    client = await change(sign_in, bob)
    first, second = await open_page(client), await open_page(client)
    token = (await first.join(resumable=True))["resumeToken"]
    await first.disconnect(1006)
    await revoke()
    data = {"roomCode": "ABC123", **({"resumeToken": token} if is_resume else {})}
    answer = await second.request("join:room", data)
    assert answer["data"]["code"] == code
    assert await second.receive_close() == 4401
    await second.disconnect(1006)
    assert (await Participant.objects.aget()).epoch == 0  # neither joined nor resumed
