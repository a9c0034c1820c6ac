"""Candidates as some clients write them, converted to RTCIceCandidateInit.

A browser converts ``"sdpMLineIndex": "0"`` and ``"sdpMid": 0`` by itself (Web IDL); other receivers
fail. PROTOCOL.md lists the clients.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

MAX_INDEX = 65_535
Number = Annotated[float, Meta(ge=0, le=MAX_INDEX, multiple_of=1)]
"""Some clients write integers with a decimal point."""
Digits = Annotated[str, Meta(pattern=r"^[0-9]{1,5}\Z")]


class LooseCandidate(Struct, rename="camel"):
    """RTCIceCandidateInit with other types that mean the same."""

    candidate: str | None = ""
    sdp_mid: str | Number | None = None
    sdp_m_line_index: Number | Digits | None = None


_decode_loose = msgspec.json.Decoder(LooseCandidate | str | None).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


def normalise(candidate: Raw) -> Raw:
    """Return a candidate as RTCIceCandidateInit. Other members stay as they are, byte for byte.

    Raises ``msgspec.ValidationError`` for a candidate that has no such form.
    """
    loose = _decode_loose(candidate)
    if not isinstance(loose, LooseCandidate):
        return candidate
    members = _decode_members(candidate)
    if loose.candidate is None:
        members["candidate"] = _encode("")
    if isinstance(loose.sdp_mid, float):
        members["sdpMid"] = _encode(str(int(loose.sdp_mid)))
    if loose.sdp_m_line_index is not None:
        members["sdpMLineIndex"] = _encode(_index(loose.sdp_m_line_index))
    return _encode(members)


def _index(value: str | float) -> int:
    index = int(value)
    if index > MAX_INDEX:
        raise msgspec.ValidationError(f"Expected `int` <= {MAX_INDEX} - at `$.sdpMLineIndex`")
    return index


def _encode(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))
