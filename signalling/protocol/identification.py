"""The id and the event name of a frame that is refused, even if the frame is not valid JSON.

A client waits for the answer to its request, so every refusal has the id of the frame if that can be
read. A decoder stops at the first fault, such as half of a surrogate pair, ``NaN`` or a missing
bracket; the id may come after it.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from .names import RequestId

EVENT_LENGTH = 64
"""The characters of an event name that an error returns."""
TOKENS = 1024
"""The tokens of a faulty frame that are looked at. An SDP is one token."""

# A string, if need be to the end of an unterminated one, so that no quote is tried twice; a
# character of JSON's structure; or anything else up to the next of these.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}:,]|[^\s"\[\]{}:,]++', re.DOTALL)
_NESTING = {"{": 1, "[": 1, "}": -1, "]": -1}


class _Identified(Struct):
    id: RequestId | None = None
    event: Any = None


_decoder = msgspec.json.Decoder(_Identified)
_id_decoder = msgspec.json.Decoder(RequestId | None)
_text_decoder = msgspec.json.Decoder(str)


def identify(frame: str | bytes) -> tuple[RequestId | None, str | None]:
    """Return the id and the event name of a frame, ``None`` for what cannot be read.

    Linear in the length of ``frame``, which may be cut off. Of duplicate keys the last one counts.
    """
    try:
        found = _decoder.decode(frame)
        event = found.event if isinstance(found.event, str) else None
        request_id = found.id
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        text = frame if isinstance(frame, str) else frame.decode("utf-8", "surrogateescape")
        members = _members(text)
        event = _read(_text_decoder, members.get("event"))
        request_id = _read(_id_decoder, members.get("id"))
    return request_id, event if event is None else event[:EVENT_LENGTH]


def _members(text: str) -> dict[str, str]:
    """Return the members of the outermost object: each key with the first token of its value."""
    members: dict[str, str] = {}
    member: list[str] = []
    depth = 0
    for match in islice(_TOKEN.finditer(text), TOKENS):
        token = match[0]
        nesting = _NESTING.get(token, 0)
        if depth == 0 and token != "{":
            break
        if depth == 1 and (nesting < 0 or token == ","):
            _add(members, member)
            member = []
        elif depth == 1:
            member.append(token)
        depth += nesting
        if depth == 0:
            break
    return members


def _add(members: dict[str, str], member: list[str]) -> None:
    if len(member) == 3 and member[1] == ":":
        key = _read(_text_decoder, member[0])
        if key is not None:
            members[key] = member[2]


def _read(decoder: msgspec.json.Decoder[Any], token: str | None) -> Any:
    try:
        return decoder.decode(token) if token is not None else None
    except (msgspec.DecodeError, UnicodeError):
        return None
