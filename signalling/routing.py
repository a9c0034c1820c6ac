from channels.security.websocket import WebsocketDenier
from django.urls import path, re_path

from .consumers import SignallingConsumer

websocket_urlpatterns = [path("ws/signalling/", SignallingConsumer.as_asgi(), name="signalling")]

# Last in a URLRouter: refuses (403) what matches nothing. Daphne would answer 500 and log a traceback.
no_such_socket = re_path(r"", WebsocketDenier.as_asgi())
