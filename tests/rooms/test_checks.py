from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.core import checks
from pytest_django import Settings

from rooms import checks as room_checks
from rooms import codes, database_checks

pytestmark = pytest.mark.django_db  # ``check --database`` asks the database for its features


def problems(prefix: str = "signalling_rooms.", *, deploy: bool = False) -> list[str]:
    """Return the IDs of the messages that ``manage.py check --database`` reports for our apps."""
    messages = checks.run_checks(databases=["default"], include_deployment_checks=deploy)
    return [str(message.id) for message in messages if str(message.id).startswith(prefix)]


def test_the_example_site_passes_all_checks() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    "hook", ["MAKE_CODE", "CAN_CREATE", "CAN_JOIN", "CAN_STAY", "IS_HOST", "USER_INFO"]
)
@pytest.mark.parametrize(
    "path", ["signalling_rooms.codes.nothing", "no.such.module", "nodots", "", None, 3]
)
def test_a_hook_that_cannot_be_imported_is_an_error(
    settings: Settings, hook: str, path: object
) -> None:
    settings.SIGNALLING = {hook: path}
    assert problems() == ["signalling_rooms.E001"]


def test_a_hook_that_is_not_callable_is_an_error(settings: Settings) -> None:
    settings.SIGNALLING = {"CAN_JOIN": "rooms.codes.ALPHABET"}
    assert problems() == ["signalling_rooms.E001"]


@pytest.mark.parametrize(
    "limits",
    [
        {"P2P_LIMIT": 0},
        {"P2P_LIMIT": 11},
        {"P2P_LIMIT": "10"},
        {"P2P_LIMIT": 5, "TOTAL_LIMIT": 4},
        {"TOTAL_LIMIT": None},
    ],
)
def test_limits_that_the_constraints_reject_are_an_error(
    settings: Settings, limits: dict[str, object]
) -> None:
    settings.SIGNALLING = limits
    assert problems() == ["signalling_rooms.E002"]


def test_the_limits_are_in_the_error(settings: Settings) -> None:
    settings.SIGNALLING = {"P2P_LIMIT": 5, "TOTAL_LIMIT": 4}
    (error,) = room_checks.check_limits(None)
    assert error.msg == "SIGNALLING['P2P_LIMIT'] is 5 and ['TOTAL_LIMIT'] is 4."


@pytest.mark.parametrize(("lease", "renewal"), [(5, 3), (5, 2), (3, 0), (3, -1), ("9", 3)])
def test_a_lease_shorter_than_three_renewals_is_an_error(
    settings: Settings, lease: object, renewal: object
) -> None:
    settings.SIGNALLING = {"LEASE_SECONDS": lease, "LEASE_RENEWAL": renewal}
    assert problems() == ["signalling_rooms.E003"]


@pytest.mark.parametrize(("lease", "renewal"), [(9, 3), (1, 0.3)])
def test_a_lease_of_three_renewals_passes(settings: Settings, lease: float, renewal: float) -> None:
    settings.SIGNALLING = {"LEASE_SECONDS": lease, "LEASE_RENEWAL": renewal}
    assert problems() == []


@pytest.mark.parametrize("limits", [(1, 1), (10, 10), (4, 200)])
def test_limits_that_the_constraints_accept_pass(
    settings: Settings, limits: tuple[int, int]
) -> None:
    settings.SIGNALLING = {"P2P_LIMIT": limits[0], "TOTAL_LIMIT": limits[1]}
    assert problems() == []


def use_sqlite(monkeypatch: pytest.MonkeyPatch, **database: Any) -> None:
    database["ENGINE"] = "django.db.backends.sqlite3"
    # Not through `settings`: Django does not support overriding DATABASES and warns about it.
    found = SimpleNamespace(DATABASES={"default": database})
    monkeypatch.setattr("rooms.database_checks.settings", found)


@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}])
def test_sqlite_without_immediate_transactions_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    use_sqlite(monkeypatch, OPTIONS=options)
    assert problems() == ["signalling_rooms.W001"]
    use_sqlite(monkeypatch)
    assert problems() == ["signalling_rooms.W001"]


@pytest.mark.parametrize(
    "database",
    [
        {"ATOMIC_REQUESTS": True},
        {"ATOMIC_REQUESTS": True, "OPTIONS": {"transaction_mode": "deferred"}},
        {"OPTIONS": {"init_command": "PRAGMA journal_mode=WAL"}},
    ],
)
def test_sqlite_with_which_requests_of_the_site_fail_is_an_error(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any]
) -> None:
    use_sqlite(monkeypatch, **database)
    (problem,) = database_checks.check_sqlite(None)
    assert problem.is_serious()
    text = f"{problem.msg} {problem.hint}"
    for part in ("Requests of your site will fail", "transaction_mode", problem.id, "SILENCED"):
        assert str(part) in text


def test_sqlite_with_immediate_transactions_and_postgresql_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    databases = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "OPTIONS": {"transaction_mode": "immediate"},
        },
        "other": {"ENGINE": "django.db.backends.postgresql"},
    }
    monkeypatch.setattr("rooms.database_checks.settings", SimpleNamespace(DATABASES=databases))
    assert problems() == []


@pytest.mark.parametrize("quorum", [0, 1.5, -1, "0.8"])
def test_a_quorum_that_is_not_a_fraction_is_an_error(settings: Settings, quorum: object) -> None:
    settings.SIGNALLING = {"SWITCH_QUORUM": quorum}
    assert problems() == ["signalling_rooms.E004"]
    settings.SIGNALLING = {"SWITCH_QUORUM": 1}
    assert problems() == []


def test_limits_that_make_rooms_flap_are_a_warning(settings: Settings) -> None:
    settings.SIGNALLING = {"BACK_TO_MESH": True, "BACK_TO_MESH_PEERS": 10}
    assert problems() == ["signalling_rooms.W002"]
    settings.SIGNALLING = {"BACK_TO_MESH": True}
    assert problems() == []


@pytest.mark.parametrize("seats", [0, -1, None, "3", 2.5])
def test_seats_per_user_must_let_users_join(settings: Settings, seats: object) -> None:
    settings.SIGNALLING = {"SEATS_PER_USER": seats}
    assert problems() == ["signalling_rooms.E005"]
    settings.SIGNALLING = {"SEATS_PER_USER": 1}
    assert problems() == []


def test_an_unknown_policy_for_hidden_rooms_is_an_error(settings: Settings) -> None:
    settings.SIGNALLING = {"HIDE_ROOMS": "some"}
    assert problems() == ["signalling_rooms.E006"]


@pytest.mark.parametrize("entry", ["proxy.example.org", "10.0.0.1/8", "", None, 7.5])
def test_a_proxy_must_be_a_network(settings: Settings, entry: object) -> None:
    settings.SIGNALLING = {"TRUSTED_PROXIES": ["10.0.0.0/8", "::1", "unix", entry]}
    assert problems() == ["signalling_rooms.E007"]


@pytest.mark.parametrize("proxies", ["10.0.0.0/8", None, 5])
def test_proxies_that_are_no_list_are_one_error(settings: Settings, proxies: object) -> None:
    settings.SIGNALLING = {"TRUSTED_PROXIES": proxies}
    assert problems("signalling") == ["signalling.E002"]


@pytest.mark.parametrize(
    ("own", "shared", "found"),
    [
        (10, 9, ["signalling_rooms.W007"]),
        (10, 10, []),
        (200, 100, ["signalling_rooms.W007"]),
        (None, "x", ["signalling.E002", "signalling.E002"]),
        (None, 5, ["signalling.E002"]),
        (5, "x", ["signalling.E002"]),
    ],
)
def test_an_address_may_have_as_many_failures_as_a_user(
    settings: Settings, own: object, shared: object, found: list[str]
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": own, "SHARED_FAILURE_LIMIT": shared}
    assert problems("signalling") == found


@pytest.mark.parametrize("entry", ["0.0.0.0/0", "::/0"])
def test_trusting_every_address_is_a_warning(settings: Settings, entry: str) -> None:
    settings.SIGNALLING = {"TRUSTED_PROXIES": [entry]}
    assert problems() == ["signalling_rooms.W003"]


@pytest.mark.parametrize("hook", ["tea", "pin", "three_words"])
def test_codes_that_can_be_guessed_are_a_warning_in_production(
    settings: Settings, hook: str
) -> None:
    settings.SIGNALLING = {"MAKE_CODE": f"tests.rooms.hooks.{hook}"}
    assert problems() == []
    assert problems(deploy=True) == ["signalling_rooms.W004"]


@pytest.mark.parametrize(("bits", "found"), [(49.4, ["signalling_rooms.W004"]), (49.6, [])])
def test_codes_of_fifty_bits_are_long_enough(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, bits: float, found: list[str]
) -> None:
    estimate = codes.CodeFormat(frozenset(), frozenset(), bits)
    monkeypatch.setattr(codes, "sample", lambda count: estimate)
    assert [message.id for message in room_checks.check_codes(None)] == found


@pytest.mark.parametrize("hook", ["rooms.codes.generate", "tests.rooms.hooks.explode"])
def test_long_codes_and_a_failing_function_are_no_warning(settings: Settings, hook: str) -> None:
    settings.SIGNALLING = {"MAKE_CODE": hook}
    assert problems(deploy=True) == []


@pytest.mark.parametrize(
    ("layer", "cache", "found"),
    [
        ("signalling.layers.RedisChannelLayer", "locmem.LocMemCache", ["signalling_rooms.W005"]),
        ("signalling.layers.RedisChannelLayer", "dummy.DummyCache", ["signalling_rooms.W005"]),
        ("signalling.layers.RedisChannelLayer", "redis.RedisCache", []),
        ("signalling.layers.LocalChannelLayer", "locmem.LocMemCache", []),
    ],
)
def test_processes_that_count_apart_are_a_warning_in_production(
    settings: Settings, layer: str, cache: str, found: list[str]
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": layer}}
    backend = f"django.core.cache.backends.{cache}"
    location = "redis://localhost?socket_timeout=3"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": location}}
    assert problems(deploy=True) == found


@pytest.mark.parametrize(
    ("backend", "options", "found"),
    [
        ("django.core.cache.backends.redis.RedisCache", {}, ["signalling_rooms.W006"]),
        ("django.core.cache.backends.redis.RedisCache", {"socket_timeout": 3}, []),
        ("tests.rooms.test_failures.SharedCache", {}, []),
    ],
)
def test_a_redis_cache_without_a_timeout_is_a_warning_in_production(
    settings: Settings, backend: str, options: dict[str, int], found: list[str]
) -> None:
    cache = {"BACKEND": backend, "LOCATION": "redis://localhost", "OPTIONS": options}
    settings.CACHES = {"default": cache}
    assert problems(deploy=True) == found


@pytest.mark.parametrize("pattern", ["[A-Z", 9])
def test_a_code_pattern_must_be_a_regular_expression(settings: Settings, pattern: object) -> None:
    settings.SIGNALLING = {"CODE_PATTERN": pattern}
    assert problems() == ["signalling_rooms.E008"]
