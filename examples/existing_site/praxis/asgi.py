import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "praxis.settings")
django_application = get_asgi_application()  # sets up Django, which the imports below need

from signalling.middleware import SignallingMiddlewareStack  # noqa: E402
from signalling.routing import websocket_urlpatterns  # noqa: E402

websocket_application = SignallingMiddlewareStack(URLRouter(websocket_urlpatterns))
application = ProtocolTypeRouter({"http": django_application, "websocket": websocket_application})
