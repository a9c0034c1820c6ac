"""The names of rooms at an SFU stay the same when a default of Django changes.

Django 6.1 deprecates ``salted_hmac`` without ``algorithm``, whose default will be another one. Rooms
with other names would be orphans, and workers of two releases would not meet.
"""

from __future__ import annotations

from typing import Any

from pytest_django import Settings

from signalling.sfu.janus.videoroom import VideoRoom
from signalling.sfu.livekit import LiveKitSfu

KEY = "a key that this test alone uses"


def test_rooms_keep_their_names(settings: Settings) -> None:
    settings.SECRET_KEY = KEY
    no_connection: Any = None
    assert VideoRoom(no_connection, {}).prefix == "4195a2a6"
    options = {"URL": "wss://sfu.example.org", "API_KEY": "k", "API_SECRET": "s" * 32}
    assert LiveKitSfu("default", options)._site == "bf210b8a"
