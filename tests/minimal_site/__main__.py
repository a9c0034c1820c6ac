import importlib
import importlib.abc
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

OPTIONAL = {
    "aiohttp", "channels_redis", "corsheaders", "daphne", "drf_spectacular", "environ", "hiredis",
    "livekit", "msgpack", "prometheus_client", "psycopg", "redis", "twisted",
    "uvicorn", "uvloop", "websockets", "whitenoise",
}  # fmt: skip

NEED_MORE = {
    "signalling.prometheus",
    "signalling.servers.daphne",
    "signalling.servers.daphne_http",
    "signalling.servers.daphne_websocket",
    "signalling.layers.batches",
    "signalling.layers.bus",
    "signalling.layers.connections",
    "signalling.layers.loop_layer",
    "signalling.layers.named_queues",
    "signalling.layers.namespaces",
    "signalling.layers.publisher",
    "signalling.layers.redis",
    "signalling.layers.subscriber",
    "signalling.sfu.janus",
    "signalling.sfu.janus.connection",
    "signalling.sfu.janus.transports",
    "signalling.sfu.janus.subscriber",
    "signalling.sfu.janus.sdp",
    "signalling.sfu.janus.session",
    "signalling.sfu.livekit",
    "signalling.servers.uvicorn",
    "signalling.servers.uvicorn_http",
    "signalling.servers.uvicorn_shutdown",
    "signalling.testing.plugin",
    "signalling.testing.server",
}
"""Modules for an optional server, channel layer or SFU. No other module imports them."""


class Blocked(importlib.abc.MetaPathFinder):
    """Make optional packages fail to import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name.partition(".")[0] in OPTIONAL:
            raise ImportError(f"{name} is not installed here")


def main() -> None:
    sys.meta_path.insert(0, Blocked())
    settings.configure(
        SECRET_KEY="s" * 50,
        ALLOWED_HOSTS=["testserver"],
        AUTH_USER_MODEL="minimal_site.Member",
        ROOT_URLCONF="tests.minimal_site.urls",
        LOGIN_URL="admin:login",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        STATIC_URL="static/",
        USE_TZ=True,
        INSTALLED_APPS=[
            *(
                f"django.contrib.{app}"
                for app in ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")
            ),
            *("rest_framework", "channels", "tests.minimal_site", "rooms", "signalling"),
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": ":memory:",
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
            }
        },
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        SIGNALLING={"USER_INFO": "tests.minimal_site.names.user_info"},
        SIMPLE_JWT={"TOKEN_REFRESH_SERIALIZER": "rooms.api.authentication.RefreshSerializer"},
    )
    django.setup()
    for app in ("rooms", "signalling"):
        for module in pkgutil.walk_packages(importlib.import_module(app).__path__, f"{app}."):
            if module.name not in NEED_MORE:
                importlib.import_module(module.name)
    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("check", fail_level="WARNING")
    use()
    print("It runs.")


def use() -> None:
    """Join a room as a custom user, find it in the admin and the API, and delete the user."""
    from django.test import Client

    from rooms import services
    from rooms.exceptions import UserInactive
    from tests.minimal_site.models import Member

    members: Any = Member._default_manager
    member = members.create(email="alice@example.org", is_superuser=True)
    member.set_password("correct horse")
    member.save()
    room = services.open_room(host=member, code="TEA")
    services.join(code="tea", user=member, peer_id="peer_a", channel_name="c")

    client: Any = Client()  # django-stubs knows the user model of tests.settings alone
    client.force_login(member)
    for path in (
        "admin/signalling_rooms/room/?q=alice",
        "admin/signalling_rooms/room/add/",
        f"admin/signalling_rooms/room/{room.pk}/change/",
        "admin/signalling_rooms/participant/?q=alice",
    ):
        answer = client.get(f"/{path}")
        assert answer.status_code == 200, path
        assert "?q=" not in path or "TEA" in answer.text, path

    name = {"email": "alice@example.org", "password": "correct horse"}
    tokens = client.post("/api/token/", name).json()
    bearer = {"authorization": f"Bearer {tokens['access']}"}
    assert Client().get("/api/rooms/TEA/", headers=bearer).json()["participants"] == 1

    stale = members.get()
    member.delete()
    assert Client().get("/api/rooms/TEA/", headers=bearer).status_code == 401
    assert client.post("/api/token/refresh/", {"refresh": tokens["refresh"]}).status_code == 401
    try:
        services.join(code="tea", user=stale, peer_id="peer_b", channel_name="c")
    except UserInactive:
        return
    raise AssertionError("a deleted user could join")


if __name__ == "__main__":
    main()
