"""The ASGI application: ``daphne signalling_project.asgi:application``."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "signalling_project.settings")
http = get_asgi_application()  # sets up Django, which the imports below require

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from signalling.middleware import SignallingMiddlewareStack  # noqa: E402
from signalling.routing import lifespan, no_such_socket, websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": http,
        "lifespan": lifespan,
        "websocket": SignallingMiddlewareStack(URLRouter([*websocket_urlpatterns, no_such_socket])),
    }
)
