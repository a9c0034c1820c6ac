"""Use the site: import all modules, run the checks, open a page and a socket."""

import asyncio
import importlib
import importlib.util
import pkgutil
import sys
from typing import Any

import django
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command

OPTIONAL = ("rest_framework", "jwt", "prometheus_client", "daphne", "redis", "websockets")
NEED_MORE = (
    *(
        "rooms.api",
        "rooms.key_server",
        "signalling.auth.simple_jwt",
        "signalling.client",
        "signalling.prometheus",
    ),
    *("signalling.servers", "signalling.sfu.janus", "signalling.sfu.livekit", "signalling.testing"),
)
APPS = ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")


def main() -> None:
    assert not [name for name in OPTIONAL if importlib.util.find_spec(name)]
    settings.configure(
        SECRET_KEY="s" * 50,
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF="site_urls",
        LOGIN_URL="signalling_login:login",
        STATIC_URL="static/",
        INSTALLED_APPS=[*(f"django.contrib.{app}" for app in APPS), "rooms", "signalling"],
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
                "NAME": "db.sqlite3",
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
            }
        },
        AUTHENTICATION_BACKENDS=["signalling.auth.backends.ThrottledModelBackend"],
        CHANNEL_LAYERS={"default": {"BACKEND": "signalling.layers.LocalChannelLayer"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    import_all()
    call_command("check", fail_level="WARNING")
    call_command("migrate", verbosity=0)
    cookie = sign_in()
    asyncio.run(join(cookie))
    sys.stdout.write("It runs.\n")


def sign_in() -> str:
    """Return the session of a user that signs in on the page and sees its rooms."""
    from django.test import Client

    from rooms import services

    alice = get_user_model().objects.create_user("alice", password="correct horse")
    services.open_room(host=alice, code="TEA")
    client = Client()
    assert client.login(username="alice", password="correct horse")
    assert "TEA" in client.get("/calls/").text
    return str(client.cookies["sessionid"].value)


async def join(cookie: str) -> None:
    """Join the room through a socket that the session identifies."""
    from asgiref.testing import ApplicationCommunicator
    from channels.routing import URLRouter

    from signalling.middleware import SignallingMiddlewareStack
    from signalling.routing import websocket_urlpatterns

    headers = [(b"host", b"testserver"), (b"origin", b"http://testserver")]
    communicator: Any = ApplicationCommunicator
    socket = communicator(
        SignallingMiddlewareStack(URLRouter(websocket_urlpatterns)),
        {
            "type": "websocket",
            "path": "/ws/signalling/",
            "headers": [*headers, (b"cookie", f"sessionid={cookie}".encode())],
            "query_string": b"",
            "subprotocols": [],
        },
    )
    await socket.send_input({"type": "websocket.connect"})
    assert (await socket.receive_output(5))["type"] == "websocket.accept"
    text = '{"event": "join:room", "data": {"roomCode": "TEA"}, "id": 1}'
    await socket.send_input({"type": "websocket.receive", "text": text})
    joined = await socket.receive_output(5)
    assert '"event":"room:joined"' in joined["text"], joined
    await socket.send_input({"type": "websocket.disconnect", "code": 1000})
    await socket.wait(5)


def import_all() -> None:
    """Import every module that needs no extra."""
    for app in ("rooms", "signalling"):
        folder = importlib.import_module(app).__path__
        for module in pkgutil.walk_packages(folder, f"{app}.", onerror=lambda name: None):
            if not module.name.startswith((*NEED_MORE, "signalling.layers.")):
                importlib.import_module(module.name)


if __name__ == "__main__":
    main()
