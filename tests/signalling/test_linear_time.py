"""Every parser that a client reaches takes time linear in its input, whatever the input is.

Each parser reads hostile text of 16 Ki characters. Where that takes unusually long, a quarter of
the text must take more than an eighth of the time: quadratic work takes a sixteenth. The CPU time
of the thread is measured, so other processes do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from time import thread_time

import pytest
from pytest_django import Settings

from rooms import addresses, codes
from rooms.exceptions import CodeInvalid
from signalling import protocol
from signalling.auth import tokens
from signalling.auth.identify import find_cookie
from signalling.auth.identity import TokenRefused
from signalling.middleware import OriginMiddleware
from signalling.protocol import FrameLimits, FrameRefused
from signalling.sfu.janus import sdp

pytestmark = pytest.mark.usefixtures("untraced")

LENGTH = 16_384
USUAL = 0.5e-6
"""Seconds for a character. What takes less at this length would take 33 ms for a whole frame."""

LIMITS = FrameLimits()
EARLY_LIMITS = FrameLimits(is_authenticated=False)
Parser = Callable[[str], object]


def decode(frame: str | bytes, limits: FrameLimits) -> None:
    try:
        protocol.decode(frame, limits)
    except FrameRefused as refused:  # the answer is also work
        event = protocol.error_event(refused, refused.request_event)
        protocol.encode(event, refused.request_id)


def binary(frame: str) -> bytes:
    return frame.encode("utf-8", "surrogatepass")


FRAMES: dict[str, Parser] = {
    "text": lambda text: decode(text, LIMITS),
    "binary": lambda text: decode(binary(text), LIMITS),
    "text before authentication": lambda text: decode(text, EARLY_LIMITS),
    "binary before authentication": lambda text: decode(binary(text), EARLY_LIMITS),
    "text over the rate limit": protocol.identify,
    "binary over the rate limit": lambda text: protocol.identify(binary(text)),
}
FRAME_PREFIXES = [
    "",
    "[" * 17,
    '["' + "[" * 17,
    '{"id":',
    '{"id":1.',
    '{"id":1,',
    '{"id":1,"x":NaN,"y":',
    '{"event":"ping","data":{"x":',
    '{"event":"ping","data":"' + "[" * 17,
    '{"event":"authenticate","data":{"token":"',
    '{"event":"join:room","data":{"roomCode":"',
    '{"event":"peer:update","data":{"displayName":"',
    '{"event":"webrtc:offer","data":{"targetPeerId":"x","offer":{"type":"',
    '{"event":"webrtc:offer","data":{"targetPeerId":"x","offer":{"type":"offer","sdp":"',
    '{"event":"webrtc:ice","data":{"targetPeerId":"x","candidate":{"candidate":"',
]
FRAME_ALPHABET = [
    "\u0301\u0316",
    "[",
    "{",
    "}",
    '"',
    "\\",
    "\\u",
    "\ud800",
    "7",
    "e9",
    '"a":',
    "key" * 100,
]


def latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def allows(origin: str) -> bool:
    scope = {"headers": [(b"host", latin(origin))]}
    return OriginMiddleware(None).allows(scope, latin(origin).decode("latin-1"))


HANDSHAKES: dict[str, Parser] = {
    "Authorization": lambda text: tokens.find([(b"authorization", latin(text))], b""),
    "Sec-WebSocket-Protocol": lambda text: tokens.find(
        [(b"sec-websocket-protocol", latin(text))], b""
    ),
    "Cookie": lambda text: find_cookie({"headers": [(b"cookie", latin(text))]}, "sessionid"),
    "Origin and Host": allows,
    "query": lambda text: tokens.find([], latin(text)),
    "query that is redacted": lambda text: tokens.redact(latin(text)),
    "token": tokens.authenticate,
    "X-Forwarded-For": lambda text: addresses.client_address("127.0.0.1", [text]),
    "room code": codes.normalise,
    "SDP for Janus": lambda text: sdp.janus_description({"type": "offer", "sdp": text}),
}
HANDSHAKE_PREFIXES = ["", "Bearer a.", "http://[", 'sessionid="', "a=fingerprint:sha-256 "]
HANDSHAKE_ALPHABET = ["127.0.0.1,", "\\", "\\7", *'";,=&%.:[\n 7é']


def seconds(parser: Parser, text: str) -> float:
    began = thread_time()
    with suppress(FrameRefused, CodeInvalid, TokenRefused):
        parser(text)
    return thread_time() - began


def texts(prefixes: list[str], alphabet: list[str]) -> Iterator[tuple[str, str]]:
    for prefix in prefixes:
        for count in (1, 2):
            for unit in product(alphabet, repeat=count):
                yield prefix, "".join(unit)


def check_is_linear(parser: Parser, prefix: str, unit: str) -> None:
    def text(length: int) -> str:
        return (prefix + unit * (length // len(unit) + 1))[:length]

    if seconds(parser, text(LENGTH)) <= LENGTH * USUAL:
        return
    whole = min(seconds(parser, text(LENGTH)) for _ in range(5))
    quarter = min(seconds(parser, text(LENGTH // 4)) for _ in range(5))
    assert whole <= 8 * quarter, f"{prefix!r} followed by {unit!r}: {quarter:.4f} -> {whole:.4f} s"


@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_decoded_in_linear_time(name: str) -> None:
    """A quadratic regular expression took 20 s for 64 KiB of ``\\"``, before authentication."""
    for prefix, unit in texts(FRAME_PREFIXES, FRAME_ALPHABET):
        check_is_linear(FRAMES[name], prefix, unit)


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshakes_codes_and_sdp_are_parsed_in_linear_time(name: str, settings: Settings) -> None:
    """Python's own parser of cookies took 1.8 s for 64 KiB before 3.12.6."""
    settings.SIGNALLING = {**settings.SIGNALLING, "TRUSTED_PROXIES": ["127.0.0.0/8"]}
    for prefix, unit in texts(HANDSHAKE_PREFIXES, HANDSHAKE_ALPHABET):
        check_is_linear(HANDSHAKES[name], prefix, unit)


def test_the_check_finds_quadratic_time() -> None:
    def quadratic(text: str) -> None:
        for _ in text[::4]:
            text.upper()

    with pytest.raises(AssertionError, match="followed by 'a'"):
        check_is_linear(quadratic, "", "a")
