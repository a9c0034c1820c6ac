from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from django.core.checks import CheckMessage
from pytest_django import Settings

pytestmark = pytest.mark.django_db  # from Django 6.1 on, system checks query the database


def complaints(*, deploy: bool = False) -> list[CheckMessage]:
    messages = checks.run_checks(include_deployment_checks=deploy)
    return [message for message in messages if str(message.id).startswith("signalling.")]


def problems(*, deploy: bool = False) -> list[str]:
    return [str(message.id) for message in complaints(deploy=deploy)]


@pytest.fixture
def deployed(settings: Settings) -> Settings:
    """A site with production settings."""
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"prefix": "tea"},
        }
    }
    settings.SIGNALLING = {"QUERY_TOKEN": False}
    return settings


def test_the_example_site_has_no_problems() -> None:
    assert problems() == []


def test_a_deployed_site_has_no_problems(deployed: Settings) -> None:
    assert problems(deploy=True) == []


@pytest.mark.parametrize("config", [{}, {"CONFIG": {}}, {"CONFIG": {"prefix": ""}}], ids=str)
def test_a_stock_layer_without_a_prefix_is_a_warning(
    deployed: Settings, config: dict[str, Any]
) -> None:
    backend = "channels_redis.core.RedisChannelLayer"
    deployed.CHANNEL_LAYERS = {"default": {"BACKEND": backend, **config}}
    assert problems(deploy=True) == ["signalling.W010"]


def test_our_redis_layer_needs_no_prefix(deployed: Settings) -> None:
    deployed.CHANNEL_LAYERS["default"] = {"BACKEND": "signalling.layers.RedisChannelLayer"}
    assert problems(deploy=True) == []


def test_a_site_without_the_setting_has_no_problems(settings: Settings) -> None:
    del settings.SIGNALLING
    assert problems() == []


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("FRAME_BYTE", "Did you mean 'FRAME_BYTES'?"),
        ("CAN_JOINS", "Did you mean 'CAN_JOIN'?"),
        ("frame_bytes", "Did you mean 'FRAME_BYTES'?"),
        ("XYZZY", "Known keys: ALLOWED_ORIGINS, "),
    ],
)
def test_a_misspelt_key_is_an_error_with_a_hint(settings: Settings, key: str, hint: str) -> None:
    settings.SIGNALLING = {key: 1}
    (error,) = (message for message in complaints() if message.id == "signalling.E001")
    assert repr(key) in error.msg
    assert str(error.hint).startswith(hint)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("FRAME_BYTES", "65536"),
        ("FRAME_BYTES", 0),
        ("FRAME_BYTES", -1),
        ("FRAME_BYTES", 1.5),
        ("FRAME_BYTES", True),
        ("FRAME_BYTES", None),
        ("FRAME_RATE", "fast"),
        ("FRAME_RATE", 0),
        ("HEARTBEAT_TIMEOUT", False),
        ("QUERY_TOKEN", 1),
        ("SESSION_AUTH", "yes"),
        ("ALLOWED_ORIGINS", "https://app.example.org"),
        ("ICE_SERVERS", {"urls": "stun:stun.example.org"}),
        ("CAN_JOIN", len),
        ("TOKEN_EXPIRY", "never"),
        ("TOKEN_EXPIRY", None),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error(settings: Settings, key: str, value: object) -> None:
    settings.SIGNALLING = {key: value}
    errors = [message for message in complaints() if message.id == "signalling.E002"]
    assert len(errors) == 1
    assert key in errors[0].msg


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ALLOWED_ORIGINS", None),
        ("ALLOWED_ORIGINS", "https://app.example.org"),
        ("FRAME_ANCESTORS", None),
        ("FRAME_ANCESTORS", "'self'"),
        ("SFU", None),
        ("SFU", "signalling.sfu.janus.JanusSfu"),
        ("BACK_TO_MESH_PEERS", "10"),
        ("BACK_TO_MESH_PEERS", None),
    ],
)
def test_a_value_of_the_wrong_type_is_reported_once(
    settings: Settings, key: str, value: object
) -> None:
    """The other checks of the same setting can do nothing with it."""
    settings.SIGNALLING = {"BACK_TO_MESH": True, key: value}
    assert problems() == ["signalling.E002"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("FRAME_BYTES", 1),
        ("FRAME_RATE", 1),
        ("FRAME_RATE", 0.5),
        ("TOKEN_EXPIRY", "close"),
        ("QUERY_TOKEN", False),
        ("ALLOWED_ORIGINS", ("https://app.example.org",)),
        ("ALLOWED_ORIGINS", []),
        ("ICE_SERVERS", [{"urls": "stun:stun.example.org"}]),
        ("USER_INFO", "tests.rooms.hooks.shout"),
    ],
)
def test_a_value_of_the_right_type_is_valid(settings: Settings, key: str, value: object) -> None:
    settings.SIGNALLING = {key: value}
    assert problems() == []


@pytest.mark.parametrize("layers", [{}, {"other": {"BACKEND": "x"}}])
def test_a_site_without_a_channel_layer_is_an_error(
    settings: Settings, layers: dict[str, object]
) -> None:
    settings.CHANNEL_LAYERS = layers
    assert problems() == ["signalling.E003"]


def test_a_site_without_the_setting_for_channel_layers_is_an_error(settings: Settings) -> None:
    del settings.CHANNEL_LAYERS
    assert "signalling.E003" in problems(deploy=True)


@pytest.mark.parametrize(
    "origin",
    [
        "app.example.org",
        "//app.example.org",
        "https://",
        "https://app.example.org/",
        "https://app.example.org/calls",
        "https://app*.example.org",
        "https://bücher.example",  # browsers send xn--bcher-kva.example
        "",
        None,
        5,
    ],
)
def test_an_incomplete_origin_is_an_error(settings: Settings, origin: object) -> None:
    settings.SIGNALLING = {"ALLOWED_ORIGINS": [origin]}
    assert problems() == ["signalling.E004"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.org",
        "http://localhost:5173",
        "https://*.example.org",
        "http://localhost:*",
        "capacitor://localhost",
    ],
)
def test_a_complete_origin_is_valid(settings: Settings, origin: str) -> None:
    settings.SIGNALLING = {"ALLOWED_ORIGINS": [origin]}
    assert problems() == []


@pytest.mark.parametrize("origin", ["*", "null", "file://"])
def test_an_origin_that_any_site_can_have_is_a_warning(settings: Settings, origin: str) -> None:
    settings.SIGNALLING = {"ALLOWED_ORIGINS": [origin]}
    assert problems() == ["signalling.W001"]


@pytest.mark.parametrize(
    "origin",
    ["app.example.org", "https://a.example; script-src *", "https://a b", "none", "", None, "*"],
)
def test_an_invalid_frame_ancestor_is_an_error(settings: Settings, origin: object) -> None:
    settings.SIGNALLING = {"FRAME_ANCESTORS": [origin]}
    assert problems() == ["signalling.E015"]


@pytest.mark.parametrize(
    "origin", ["'self'", "https://app.example.org", "https://*.example.org", "http://localhost:80"]
)
def test_a_valid_frame_ancestor_is_accepted(settings: Settings, origin: str) -> None:
    settings.SIGNALLING = {"FRAME_ANCESTORS": [origin]}
    assert problems() == []


@pytest.mark.parametrize(
    "layer", ["channels.layers.InMemoryChannelLayer", "signalling.layers.LocalChannelLayer"]
)
def test_a_layer_for_one_process_is_a_warning_in_production(deployed: Settings, layer: str) -> None:
    deployed.CHANNEL_LAYERS = {"default": {"BACKEND": layer}}
    assert problems() == []
    assert problems(deploy=True) == ["signalling.W002"]


@pytest.mark.parametrize("given", [{}, {"QUERY_TOKEN": True}])
def test_query_tokens_are_a_warning_in_production(
    deployed: Settings, given: dict[str, bool]
) -> None:
    deployed.SIGNALLING = given
    assert problems() == []
    assert problems(deploy=True) == ["signalling.W003"]


@pytest.mark.parametrize(
    ("backends", "found"),
    [
        (["django.contrib.auth.backends.ModelBackend"], ["signalling.W005"]),
        (["django.contrib.auth.backends.AllowAllUsersModelBackend"], ["signalling.W005"]),
        (["signalling.auth.backends.ThrottledModelBackend"], []),
        (["myproject.ldap.Backend"], []),
        (["axes.backends.AxesBackend", "django.contrib.auth.backends.ModelBackend"], []),
    ],
)
def test_unthrottled_passwords_are_a_warning_in_production(
    deployed: Settings, backends: list[str], found: list[str]
) -> None:
    deployed.AUTHENTICATION_BACKENDS = backends
    assert problems() == []
    assert problems(deploy=True) == found


# --- The SFU --------------------------------------------------------------------------------------

JANUS = {"BACKEND": "signalling.sfu.janus.JanusSfu", "URL": "ws://127.0.0.1:8188"}


@pytest.mark.parametrize("sfu", [{}, JANUS, {"default": JANUS, "second": JANUS}])
def test_no_sfu_one_sfu_and_several_are_valid(settings: Settings, sfu: dict[str, object]) -> None:
    settings.SIGNALLING = {"SFU": sfu}
    assert problems() == []


@pytest.mark.parametrize(
    "sfu",
    [
        {"URL": "ws://127.0.0.1:8188"},
        {"BACKEND": "signalling.sfu.janus.Jannis"},
        {"BACKEND": "signalling.no.such.module"},
        {"BACKEND": 7},
        {"default": {"URL": "ws://127.0.0.1:8188"}},
        {"default": "signalling.sfu.janus.JanusSfu"},
        {"BACKEND": "signalling.sfu.base.SfuRoom"},
    ],
)
def test_an_sfu_needs_a_valid_backend(settings: Settings, sfu: dict[str, object]) -> None:
    settings.SIGNALLING = {"SFU": sfu}
    assert set(problems()) == {"signalling.E005"}


@pytest.mark.parametrize("url", ["", None, "http://127.0.0.1:8088/janus", 8188])
def test_the_url_of_janus_must_be_that_of_its_websocket_api(
    settings: Settings, url: object
) -> None:
    settings.SIGNALLING = {"SFU": {**JANUS, "URL": url}}
    assert problems() == ["signalling.E006"]


def test_a_misspelt_option_of_janus_is_an_error(settings: Settings) -> None:
    settings.SIGNALLING = {"SFU": {**JANUS, "ADMINKEY": "secret"}}
    (error,) = complaints()
    assert error.id == "signalling.E007"
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("cost", "scopes"),
    [
        ("joins", {"user": [1, 2]}),
        ("join", {"peer": [1, 2]}),
        ("join", {"user": 1}),
        ("join", {"user": [1]}),
        ("join", {"user": [0, 2]}),
        ("join", [1, 2]),
    ],
)
def test_invalid_rate_limits_are_an_error(settings: Settings, cost: str, scopes: object) -> None:
    settings.SIGNALLING = {"RATE_LIMITS": {cost: scopes, "relay": {"room": [1.5, 20]}, "offer": {}}}
    (error,) = complaints()
    assert error.id == "signalling.E016"
    assert repr(cost) in error.msg
    assert "join, authenticate, update" in str(error.hint)
