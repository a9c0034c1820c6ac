"""Helpers for the tests of sites with call rooms: tokens, and a client for a running server.

    token = access_token(user)
    async with SignallingCommunicator("ws://127.0.0.1:8000/ws/signalling/", token=token) as alice:
        room = await alice.join("ABC123")
        await alice.send("webrtc:offer", {"targetPeerId": room["peers"][0]["id"], "offer": offer})
        answer = await alice.receive("webrtc:answer")

Requires the ``websockets`` package and a running server.
"""

from django.contrib.auth.models import AbstractBaseUser

from .communicator import TIMEOUT, RequestRefused, SignallingCommunicator

__all__ = ["TIMEOUT", "RequestRefused", "SignallingCommunicator", "access_token"]


def access_token(user: AbstractBaseUser) -> str:
    """Return an access token for a user, like ``/api/token/``. Requires the extra ``jwt``."""
    from rest_framework_simplejwt.tokens import AccessToken

    return str(AccessToken.for_user(user))
