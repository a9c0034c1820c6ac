from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

import signalling_project

SETTINGS = str(Path(signalling_project.__file__).with_name("settings.py"))
SECRETS = {"SECRET_KEY": "s" * 40, "JWT_SIGNING_KEY": "j" * 40}
Load = Callable[..., dict[str, Any]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return a function that loads the settings with the given environment.

    Besides, only ``ENV_FILE`` and ``CLIENT_URL`` are set, unless they are ``None``.
    """

    def load(**environment: str | None) -> dict[str, Any]:
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in {"ENV_FILE": os.devnull, "CLIENT_URL": "", **environment}.items():
            if value is not None:
                monkeypatch.setenv(name, value)
        return run_path(SETTINGS)

    return load


@pytest.mark.parametrize("missing", SECRETS)
@pytest.mark.parametrize("value", [None, "", "x" * 31])
def test_a_site_without_long_secrets_does_not_start(
    load: Load, missing: str, value: str | None
) -> None:
    environment = {**SECRETS}
    del environment[missing]
    if value is not None:
        environment[missing] = value
    with pytest.raises(ImproperlyConfigured, match=missing):
        load(**environment)


def test_the_defaults_are_secure(load: Load) -> None:
    site = load(**SECRETS)
    assert site["DEBUG"] is False
    assert site["SECURE_SSL_REDIRECT"] is True
    assert site["SESSION_COOKIE_SECURE"] is True
    assert site["CSRF_COOKIE_SECURE"] is True
    assert site["SECURE_HSTS_SECONDS"] == 3600
    assert "SECURE_PROXY_SSL_HEADER" not in site
    assert site["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert site["SIMPLE_JWT"]["SIGNING_KEY"] == SECRETS["JWT_SIGNING_KEY"]
    assert site["SIMPLE_JWT"]["ACCESS_TOKEN_LIFETIME"] == timedelta(minutes=10)
    assert site["SIMPLE_JWT"]["CHECK_REVOKE_TOKEN"] is True


def test_a_site_in_production_has_to_name_its_clients(load: Load) -> None:
    with pytest.raises(ImproperlyConfigured, match="CLIENT_URL="):
        load(**SECRETS, CLIENT_URL=None)
    site = load(**SECRETS, CLIENT_URL="")
    assert site["CORS_ALLOWED_ORIGINS"] == []
    assert site["SIGNALLING"] == {"ALLOWED_ORIGINS": []}


def test_the_default_client_origin_of_a_development_site_is_port_5173(load: Load) -> None:
    site = load(**SECRETS, CLIENT_URL=None, DEBUG="on")
    assert site["CORS_ALLOWED_ORIGINS"] == ["http://localhost:5173"]
    assert site["CORS_ALLOW_CREDENTIALS"] is True
    assert site["SIGNALLING"] == {"ALLOWED_ORIGINS": ["http://localhost:5173"]}


def test_client_url_sets_the_origins_for_pages_and_sockets(load: Load) -> None:
    site = load(**SECRETS, CLIENT_URL="https://app.example.org/,https://b.example.org")
    clients = ["https://app.example.org", "https://b.example.org"]
    assert site["CORS_ALLOWED_ORIGINS"] == clients
    assert site["SIGNALLING"]["ALLOWED_ORIGINS"] == clients


def test_the_environment_can_set_any_key_of_signalling(load: Load) -> None:
    site = load(**SECRETS, SIGNALLING='{"P2P_LIMIT": 4, "QUERY_TOKEN": false}')
    assert site["SIGNALLING"]["P2P_LIMIT"] == 4
    assert site["SIGNALLING"]["QUERY_TOKEN"] is False
    assert site["SIGNALLING"]["ALLOWED_ORIGINS"] == []


def test_the_api_schema_is_served_in_development_or_by_setting(load: Load) -> None:
    assert load(**SECRETS)["API_SCHEMA"] is False
    assert load(**SECRETS, DEBUG="on")["API_SCHEMA"] is True
    assert load(**SECRETS, API_SCHEMA="on")["API_SCHEMA"] is True


@pytest.mark.parametrize("is_served", [True, False])
def test_the_setting_adds_the_path_of_the_schema(settings: Settings, is_served: bool) -> None:
    settings.API_SCHEMA = is_served
    patterns = run_path(SETTINGS.replace("settings.py", "urls.py"))["urlpatterns"]
    assert ("schema" in {getattr(pattern, "name", None) for pattern in patterns}) is is_served


def test_sqlite_uses_wal_and_immediate_transactions(load: Load, tmp_path: Path) -> None:
    database = load(**SECRETS, DATABASE_URL=f"sqlite:///{tmp_path}/a.sqlite3")["DATABASES"]
    assert database["default"]["NAME"] == f"{tmp_path}/a.sqlite3"
    assert database["default"]["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in database["default"]["OPTIONS"]["init_command"]


def test_postgresql_connections_time_out_within_seconds(load: Load) -> None:
    site = load(**SECRETS, DATABASE_URL="postgres://user:password@db.example.org/calls")
    database = site["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["HOST"], database["NAME"]) == ("db.example.org", "calls")
    assert database["OPTIONS"]["connect_timeout"] == 2
    assert database["OPTIONS"]["pool"]["timeout"] == 2


def test_without_redis_the_channel_layer_is_local(load: Load) -> None:
    layer = load(**SECRETS)["CHANNEL_LAYERS"]["default"]
    assert layer["BACKEND"] == "signalling.layers.LocalChannelLayer"


def test_with_redis_the_channel_layer_is_shared(load: Load) -> None:
    site = load(**SECRETS, REDIS_URL="redis://redis.example.org:6379/0")
    layer = site["CHANNEL_LAYERS"]["default"]
    assert layer["BACKEND"] == "signalling.layers.RedisChannelLayer"
    assert layer["CONFIG"] == {"hosts": ["redis://redis.example.org:6379/0"], "prefix": None}


def test_the_names_in_redis_differ_between_sites(load: Load) -> None:
    def names(**environment: str) -> tuple[str | None, str]:
        site = load(**{**SECRETS, "REDIS_URL": "redis://redis.example.org", **environment})
        prefix = site["CHANNEL_LAYERS"]["default"]["CONFIG"]["prefix"]
        return prefix, site["CACHES"]["default"]["KEY_PREFIX"]

    assert names()[0] is None
    assert names()[1] != names(SECRET_KEY="another" * 10)[1]
    assert names(SECRET_KEY="n" * 40, SECRET_KEY_FALLBACKS=SECRETS["SECRET_KEY"]) == names()
    assert names(REDIS_PREFIX="tea") == ("tea", "tea")


def test_https_can_be_turned_off(load: Load) -> None:
    site = load(**SECRETS, HTTPS="off")
    assert site["SECURE_SSL_REDIRECT"] is False
    assert site["SESSION_COOKIE_SECURE"] is False
    assert site["SECURE_HSTS_SECONDS"] == 0


def test_behind_proxy_trusts_the_proxys_headers(load: Load) -> None:
    site = load(**SECRETS, BEHIND_PROXY="on")
    assert site["SECURE_PROXY_SSL_HEADER"] == ("HTTP_X_FORWARDED_PROTO", "https")


@pytest.mark.parametrize(
    ("environment", "trusted"),
    [
        ({}, None),
        ({"TRUSTED_PROXIES": "10.0.0.0/8"}, None),
        ({"BEHIND_PROXY": "on"}, ["127.0.0.0/8", "::1", "unix"]),
        ({"BEHIND_PROXY": "on", "TRUSTED_PROXIES": "10.0.0.0/8,::1"}, ["10.0.0.0/8", "::1"]),
    ],
)
def test_proxies_are_trusted_only_behind_a_proxy(
    load: Load, environment: dict[str, str], trusted: list[str] | None
) -> None:
    site = load(**SECRETS, **environment)
    assert site["SIGNALLING"].get("TRUSTED_PROXIES") == trusted
    throttles = site["REST_FRAMEWORK"]["DEFAULT_THROTTLE_CLASSES"]
    assert all(path.startswith("rooms.api.throttling.") for path in throttles)


def test_settings_can_come_from_a_file(load: Load, tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text("\n".join(f"{name}={value}" for name, value in SECRETS.items()))
    site = load(ENV_FILE=str(env), ALLOWED_HOSTS="calls.example.org")
    assert site["SECRET_KEY"] == SECRETS["SECRET_KEY"]
    assert site["ALLOWED_HOSTS"] == ["calls.example.org"]
    for name in SECRETS:
        os.environ.pop(name, None)  # loading the file changed the environment


def test_every_variable_is_documented() -> None:
    documentation, code = Path(SETTINGS).read_text().split('"""', 2)[1:]
    table = (Path(SETTINGS).parents[1] / "docs" / "settings.md").read_text()
    names = set(re.findall(r'(?:env\.\w+|secret)\(\s*"([A-Z_]+)"', code))
    assert len(names) > 15
    for name in names:
        assert re.search(rf"\b{name}\b", documentation), name
        assert re.search(rf"\b{name}\b", table), name


def test_tokens_and_sessions_need_different_secrets(load: Load) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be different from SECRET_KEY"):
        load(SECRET_KEY="s" * 40, JWT_SIGNING_KEY="s" * 40)


@pytest.mark.parametrize(("proxy", "proxies"), [("off", 0), ("on", 1)])
def test_throttles_count_an_address_that_cannot_be_forged(
    load: Load, proxy: str, proxies: int
) -> None:
    assert load(**SECRETS, BEHIND_PROXY=proxy)["REST_FRAMEWORK"]["NUM_PROXIES"] == proxies


def test_with_redis_all_processes_share_a_cache(load: Load) -> None:
    assert "CACHES" not in load(**SECRETS)
    url = "redis://redis.example.org:6379/0"
    cache = load(**SECRETS, REDIS_URL=url)["CACHES"]["default"]
    assert cache["BACKEND"] == "django.core.cache.backends.redis.RedisCache"
    assert cache["LOCATION"] == url
    several = load(**SECRETS, REDIS_URL=f"{url},redis://other.example.org")["CACHES"]["default"]
    assert several["LOCATION"] == url  # Django would treat a second URL as a replica


def test_postgresql_statements_and_connections_time_out(load: Load) -> None:
    url = "postgres://user:password@db.example.org/calls"
    database = load(**SECRETS, DATABASE_URL=url)["DATABASES"]["default"]
    assert database["CONN_HEALTH_CHECKS"] is True
    assert database["OPTIONS"]["tcp_user_timeout"] == 3000
    assert database["OPTIONS"]["options"] == "-c statement_timeout=2000 -c lock_timeout=500"
    longer = load(**SECRETS, DATABASE_URL=url, DATABASE_TIMEOUT="0")["DATABASES"]["default"]
    assert "statement_timeout=0 " in longer["OPTIONS"]["options"]
    own = load(**SECRETS, DATABASE_URL=url + "?connect_timeout=9")["DATABASES"]["default"]
    assert own["OPTIONS"]["connect_timeout"] == 9


def test_issuer_and_audience_can_be_required(load: Load) -> None:
    site = load(**SECRETS)
    assert (site["SIMPLE_JWT"]["ISSUER"], site["SIMPLE_JWT"]["AUDIENCE"]) == (None, None)
    site = load(**SECRETS, JWT_ISSUER="https://example.org", JWT_AUDIENCE="calls")
    assert site["SIMPLE_JWT"]["ISSUER"] == "https://example.org"
    assert site["SIMPLE_JWT"]["AUDIENCE"] == "calls"


@pytest.mark.parametrize("layer", ["core.RedisChannelLayer", "pubsub.RedisPubSubChannelLayer"])
def test_one_variable_chooses_a_layer_of_channels_redis(load: Load, layer: str) -> None:
    backend = f"channels_redis.{layer}"
    redis = {"REDIS_URL": "redis://localhost:6379/3"}
    chosen = load(**SECRETS, **redis, CHANNEL_LAYER=backend)["CHANNEL_LAYERS"]["default"]
    assert chosen["BACKEND"] == backend
    assert chosen["CONFIG"]["symmetric_encryption_keys"] == [SECRETS["SECRET_KEY"]]
    assert chosen["CONFIG"]["prefix"] not in {"asgi", None}
    default = load(**SECRETS, **redis)["CHANNEL_LAYERS"]["default"]
    assert default["BACKEND"] == "signalling.layers.RedisChannelLayer"
    assert default["CONFIG"]["prefix"] is None
