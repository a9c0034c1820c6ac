"""The throttles of Django REST framework, for the client addresses of ``rooms.addresses``.

While the default cache is unavailable, they count in the process: its outage fails no request.
"""

from typing import Any

from rest_framework import throttling
from rest_framework.request import Request

from rooms.addresses import request_address
from rooms.shared_cache import SharedCache

requests = SharedCache("REST requests")


RATES = {"anon": "30/min", "token": "300/min", "user": "120/min"}
"""The rates of a site that has set none."""


class ClientAddressMixin(throttling.SimpleRateThrottle):
    """Identifies an anonymous client as sockets and pages do, instead of by ``NUM_PROXIES``."""

    cache: Any = requests

    def get_rate(self) -> str | None:
        """Return the rate in ``DEFAULT_THROTTLE_RATES``; without one, that in ``RATES``."""
        scope = self.scope or ""
        return self.THROTTLE_RATES.get(scope) or RATES.get(scope)

    def get_ident(self, request: Request) -> str:
        return request_address(request)


class AnonRateThrottle(ClientAddressMixin, throttling.AnonRateThrottle):
    """Limits the requests of each anonymous client (``DEFAULT_THROTTLE_RATES["anon"]``)."""


class TokenRateThrottle(AnonRateThrottle):
    """Limits the requests for access tokens from each address (``…["token"]``)."""

    scope = "token"


class UserRateThrottle(ClientAddressMixin, throttling.UserRateThrottle):
    """Limits the requests of each user (``DEFAULT_THROTTLE_RATES["user"]``)."""
