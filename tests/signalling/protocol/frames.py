"""Frames for the tests of the protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signalling.protocol import FrameLimits, FrameRefused, decode

LIMITS = FrameLimits()
RELAYS = {"webrtc:offer": "offer", "webrtc:answer": "answer", "webrtc:ice": "candidate"}

EXAMPLES: dict[str, dict[str, Any]] = {
    "authenticate": {"token": "a.b.c"},
    "join:room": {"roomCode": "ABC123", "resumable": True, "resumeToken": "t"},
    "leave:room": {},
    "webrtc:offer": {"targetPeerId": "p", "offer": {"type": "offer", "sdp": "v=0\r\n"}},
    "webrtc:answer": {
        "targetPeerId": "p",
        "answer": {"type": "answer", "sdp": "v=0\r\n"},
        "connection": 7,
    },
    "webrtc:ice": {"targetPeerId": "p", "candidate": "candidate:1", "connection": 7},
    "peer:update": {"media": {"audio": True, "screen": False}, "displayName": "Bo"},
    "room:mode": {"mode": "sfu"},
    "sfu:state": {"version": 3, "state": "receiving"},
    "sfu:restart": {"anew": True},
    "ping": {},
}


def frame(event: object, data: object = None, **rest: object) -> str:
    return json.dumps({"event": event, "data": data, **rest})


def refusal(text: str | bytes, limits: FrameLimits = LIMITS) -> FrameRefused:
    with pytest.raises(FrameRefused) as refused:
        decode(text, limits)
    return refused.value


def offer(sdp: str) -> str:
    return frame("webrtc:offer", {"targetPeerId": "p", "offer": {"type": "offer", "sdp": sdp}})


def ice(candidate: str) -> str:
    """Return a frame with a candidate, given as JSON."""
    return f'{{"event":"webrtc:ice","data":{{"targetPeerId":"p","candidate":{candidate}}},"id":7}}'
