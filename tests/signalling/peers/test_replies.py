"""The conversion of domain errors."""

from __future__ import annotations

from rooms.exceptions import CodeTaken, RoomError, RoomFull, TooManyRooms
from signalling.peers.replies import from_domain
from signalling.protocol import ErrorCode


def test_a_domain_error_keeps_its_message_and_details() -> None:
    error = RoomFull()
    converted = from_domain(error)
    assert (converted.code, converted.message) == (error.code, str(error))
    assert converted.details == error.details
    assert converted.details is not error.details


def test_every_domain_error_has_a_protocol_code() -> None:
    known = {code.value for code in ErrorCode}
    over_http = {CodeTaken, TooManyRooms}  # rooms are opened over HTTP only
    used = {kind.code for kind in RoomError.__subclasses__() if kind not in over_http}
    assert used <= known
