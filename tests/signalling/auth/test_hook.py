"""Tokens that a function of the site validates (``SIGNALLING["AUTHENTICATE"]``)."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from types import ModuleType
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import User
from pytest_django import Settings

from rooms.deadlines import Workers
from rooms.models import Room
from signalling.auth import hook, revocation
from signalling.auth.identify import identify_token
from signalling.auth.identity import TokenRefused
from signalling.identity_checks import check_hooks
from signalling.protocol import TOKEN_LENGTH, ProtocolError
from signalling.throttling import failures
from tests.documents import section
from tests.patience import PATIENCE
from tests.signalling.auth import site_hooks
from tests.signalling.sockets import AppSocket
from tests.signalling.worker.revoking import change, deactivate, open_page, set_password, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

Use = Callable[[str], None]


@pytest.fixture
def use(settings: Settings) -> Use:
    """Return a function that names a hook in the settings."""

    def use(name: str) -> None:
        path = f"tests.signalling.auth.site_hooks.{name}"
        settings.SIGNALLING = {**settings.SIGNALLING, "AUTHENTICATE": path}

    return use


async def refusal(token: str, address: str | None = None) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        await identify_token(token, address)
    return refused.value


@pytest.mark.parametrize("name", ["by_name", "by_name_async", "by_name_object"])
async def test_the_site_decides_whose_token_it_is(
    room: Room, bob: User, use: Use, name: str
) -> None:
    use(name)
    client = AppSocket(headers={"authorization": "Bearer bob"})
    await client.connect()
    await client.join()
    answer = await client.request("authenticate", {"token": "nobody"})
    assert answer["data"]["code"] == "token_invalid"
    assert await client.receive_close() == 4401
    await client.disconnect()


async def test_a_sync_function_has_threads_of_its_own(bob: User, use: Use) -> None:
    use("by_name")
    site_hooks.threads.clear()
    assert (await identify_token("bob", None)).user == bob
    assert site_hooks.threads == ["signalling-authenticate"]


@pytest.mark.parametrize(
    ("token", "is_counted"), [("nobody", True), ("x" * (TOKEN_LENGTH + 1), True), ("bob", False)]
)
async def test_only_tokens_of_nobody_are_guesses(
    bob: User, use: Use, token: str, is_counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("by_name")
    await User.objects.aupdate(is_active=False)
    counted: list[str] = []

    def wrong_token(address: str) -> int:
        counted.append(address)
        return 7

    monkeypatch.setattr(failures, "wrong_token", wrong_token)
    refused = await refusal(token, "192.0.2.1")
    assert counted == ["192.0.2.1"] * is_counted
    expected = ("token_invalid", {"retry_after": 7}) if is_counted else ("user_inactive", {})
    assert (refused.code, refused.details) == expected


@pytest.mark.parametrize("name", ["hang", "hang_async", "disconnect"])
async def test_a_function_that_cannot_answer_makes_no_token_invalid(
    use: Use, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(name)
    monkeypatch.setattr(hook, "SECONDS", 0.01)
    monkeypatch.setattr(failures, "wrong_token", pytest.fail)
    site_hooks.may_return.clear()
    refused = await refusal("bob", "192.0.2.1")
    site_hooks.may_return.set()
    assert (refused.code, refused.details) == ("unavailable", {"retry_after": 2})


async def test_a_function_that_hangs_holds_up_only_tokens(
    room: Room, bob: User, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("hang")
    monkeypatch.setattr(hook, "SECONDS", 60.0)
    site_hooks.may_return.clear()
    waiting = [asyncio.create_task(identify_token("bob", None)) for _ in range(9)]
    await asyncio.sleep(0)
    page = await open_page(await change(sign_in, bob))
    await page.join()
    await page.disconnect()
    assert not any(task.done() for task in waiting)
    site_hooks.may_return.set()
    assert {(await task).user.pk for task in waiting} == {bob.pk}


async def test_a_flood_from_one_address_delays_others_by_one_call(
    use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("hang")
    monkeypatch.setattr(hook, "SECONDS", 60.0)
    monkeypatch.setattr(hook, "_threads", partial(lambda threads: threads, Workers(1, "one")))
    monkeypatch.setattr(failures, "wrong_token", lambda address: 0)
    site_hooks.may_return.clear()
    site_hooks.begun.clear()
    flood = [asyncio.create_task(refusal(f"flood {n}", "192.0.2.1")) for n in range(5)]
    async with asyncio.timeout(PATIENCE):
        while not site_hooks.begun:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    other = asyncio.create_task(refusal("other", "198.51.100.1"))
    await asyncio.sleep(0)
    site_hooks.may_return.set()
    await asyncio.gather(*flood, other)
    assert site_hooks.begun[:3] == ["flood 0", "flood 1", "other"]


@pytest.mark.parametrize(("name", "kind"), [("explode", LookupError), ("anonymous", TypeError)])
async def test_a_bug_of_the_site_is_not_the_fault_of_the_token(
    use: Use, name: str, kind: type[Exception]
) -> None:
    use(name)
    with pytest.raises(kind):
        await identify_token("bob", "192.0.2.1")


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (set_password, "token_revoked"),
        (deactivate, "user_inactive"),
        (lambda user: user.delete(), "token_invalid"),
    ],
)
async def test_the_user_is_read_again(bob: User, use: Use, act: Any, code: str) -> None:
    use("by_name")
    identity = await identify_token("bob", None)
    assert await change(revocation.read_user, identity) == bob
    assert await change(revocation.find_lost, [identity]) == set()
    await change(act, bob)
    with pytest.raises(TokenRefused) as refused:
        await change(revocation.read_user, identity)
    assert refused.value.code == code


@pytest.mark.parametrize("key", ["AUTHENTICATE", "CONTEXT"])
@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("", []),
        ("tests.signalling.auth.site_hooks.by_name", []),
        ("tests.nothing", ["signalling.E017"]),
        ("tests.conftest.PASSWORD", ["signalling.E017"]),
    ],
)
def test_a_function_that_does_not_exist_is_an_error(
    settings: Settings, key: str, path: str, ids: list[str]
) -> None:
    settings.SIGNALLING = {key: path}
    assert [problem.id for problem in check_hooks(None)] == ids


# --- The example in docs/embedding.md -----------------------------------------------------------

PRIVATE = ec.generate_private_key(ec.SECP256R1())
FOR_RSA = base64.urlsafe_b64encode(b'{"alg": "RS256", "kid": "ours"}').decode().rstrip("=")
"""A header with an algorithm for other keys than the one that it names."""


@pytest.fixture
def documented(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the example, with its settings and a key server that has one key."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$",
        section("docs/embedding.md", "Tokens of another kind"),
        flags=re.DOTALL | re.MULTILINE,
    )
    found: dict[str, Any] = {}
    exec(blocks[0], found)
    for name in ("SIGNALLING", "OIDC_ISSUER", "OIDC_AUDIENCE", "OIDC_KEYS"):
        setattr(settings, name, found[name])
    module = ModuleType("myproject.tokens")
    exec(blocks[1], module.__dict__)
    monkeypatch.setitem(sys.modules, "myproject", ModuleType("myproject"))
    monkeypatch.setitem(sys.modules, "myproject.tokens", module)
    key = jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)
    answer = {"keys": [{**key, "kid": "ours"}]}
    monkeypatch.setattr(module.keys, "fetch_data", lambda: answer)
    return module


def signed(kid: str = "ours", **claims: Any) -> str:
    good = {
        "sub": "bob",
        "iss": "https://id.example.org",
        "aud": "calls",
        "exp": datetime.now(UTC) + timedelta(minutes=5),
    }
    return jwt.encode({**good, **claims}, PRIVATE, algorithm="ES256", headers={"kid": kid})


@pytest.mark.usefixtures("documented")
async def test_the_documented_example_accepts_tokens_of_the_provider_only(bob: User) -> None:
    assert (await identify_token(signed(), None)).user == bob
    for token in (
        "a.b.c",
        f"{FOR_RSA}.e30.e30",
        signed(kid="theirs"),
        signed(sub="nobody"),
        signed(iss="https://evil.example.org"),
        signed(aud="mail"),
        signed(exp=datetime.now(UTC) - timedelta(minutes=1)),
        jwt.encode({"sub": "bob"}, PRIVATE, algorithm="ES256", headers={"kid": "ours"}),
    ):
        assert (await refusal(token)).code == "token_invalid"


async def test_the_documented_example_waits_for_no_key_server(
    bob: User, documented: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = jwt.PyJWKClient(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.05)
        monkeypatch.setattr(documented, "keys", client)
        assert (await refusal(signed())).code == "unavailable"
