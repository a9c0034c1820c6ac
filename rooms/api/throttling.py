"""The throttles of Django REST framework, for the client addresses of ``rooms.addresses``."""

from rest_framework import throttling
from rest_framework.request import Request

from rooms.addresses import request_address


class ClientAddressMixin(throttling.BaseThrottle):
    """Identifies an anonymous client as sockets and pages do, instead of by ``NUM_PROXIES``."""

    def get_ident(self, request: Request) -> str:
        return request_address(request)


class AnonRateThrottle(ClientAddressMixin, throttling.AnonRateThrottle):
    """Limits the requests of each anonymous client (``DEFAULT_THROTTLE_RATES["anon"]``)."""


class TokenRateThrottle(AnonRateThrottle):
    """Limits the requests for access tokens from each address (``…["token"]``)."""

    scope = "token"


class UserRateThrottle(ClientAddressMixin, throttling.UserRateThrottle):
    """Limits the requests of each user (``DEFAULT_THROTTLE_RATES["user"]``)."""
