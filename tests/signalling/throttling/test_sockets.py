from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import Raw

from signalling import protocol
from signalling.conf import SignallingSettings
from signalling.protocol import CloseCode, ProtocolError
from signalling.throttling import buckets
from signalling.throttling.rates import Rates, SharedBuckets
from signalling.throttling.sockets import RELAYS, SocketLimits


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test moves."""
    clock = Clock()
    original = buckets.TokenBucket

    def bucket(rate: float, burst: float) -> buckets.TokenBucket:
        return original(rate, burst, clock=lambda: clock.now)

    monkeypatch.setattr("signalling.throttling.sockets.TokenBucket", bucket)
    monkeypatch.setattr("signalling.throttling.rates.TokenBucket", bucket)
    return clock


def limits(**settings: Any) -> SocketLimits:
    return sockets(1, **settings)[0]


def sockets(count: int, *addresses: str, **settings: Any) -> list[SocketLimits]:
    """Return the limits of several sockets of one process, by default with one address."""
    chosen = SignallingSettings(**settings)
    rates = Rates(chosen)
    return [SocketLimits(chosen, rates, address) for address in addresses or ["192.0.2.1"] * count]


def sender(user: int | None = 1, room: str | None = "TEA") -> Any:
    identity = SimpleNamespace(user_key=user) if user else None
    membership = SimpleNamespace(room_code=room) if room else None
    return SimpleNamespace(identity=identity, membership=membership)


def refusal(check: Any, *arguments: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        check(*arguments)
    return refused.value


def test_frames_over_the_burst_are_refused_until_the_bucket_refills(clock: Clock) -> None:
    socket = limits(frame_burst=3, frame_rate=2.0)
    for _ in range(3):
        socket.check_frame(10, clock.now)
    error = refusal(socket.check_frame, 10, clock.now)
    assert (error.code, error.close) == ("rate_limited", None)
    assert error.details == {"retry_after": 0.5}
    clock.now += 0.5
    socket.check_frame(10, clock.now)


def test_bytes_are_limited_as_well_as_frames(clock: Clock) -> None:
    socket = limits(byte_burst=1000, byte_rate=100.0)
    socket.check_frame(1000, clock.now)
    assert refusal(socket.check_frame, 50, clock.now).details == {"retry_after": 0.5}
    clock.now += 0.5
    socket.check_frame(50, clock.now)


def test_offers_have_their_own_limit(clock: Clock) -> None:
    socket = limits(offer_rate=2.0)
    socket.check_offer()
    socket.check_offer()
    error = refusal(socket.check_offer)
    assert (error.code, error.close) == ("rate_limited", None)
    assert "offers" in error.message
    socket.check_frame(10, clock.now)
    clock.now += 0.5
    socket.check_offer()


def test_a_flood_closes_the_socket(clock: Clock) -> None:
    socket = limits(frame_burst=1, frame_rate=1.0, flood_frames=5)
    socket.check_frame(10, clock.now)
    refused = [refusal(socket.check_frame, 10, clock.now) for _ in range(6)]
    assert [error.close for error in refused] == [None] * 5 + [CloseCode.FLOOD]


def test_occasional_refusals_are_not_a_flood(clock: Clock) -> None:
    socket = limits(frame_burst=10, frame_rate=10.0, flood_frames=5)
    for _ in range(50):
        for _ in range(10):
            socket.check_frame(10, clock.now)
        assert refusal(socket.check_frame, 10, clock.now).close is None
        clock.now += 1


def test_too_many_malformed_frames_close_the_socket(clock: Clock) -> None:
    socket = limits(violations=2)
    assert socket.violated() is None
    assert socket.violated() is None
    assert socket.violated() is CloseCode.PROTOCOL_VIOLATIONS
    clock.now += 1
    assert socket.violated() is None
    assert socket.violated() is CloseCode.PROTOCOL_VIOLATIONS


def test_a_tenth_of_the_frame_rate_may_be_refused_all_the_time(clock: Clock) -> None:
    socket = limits(frame_burst=1, frame_rate=90.0, flood_frames=9)
    socket.check_frame(10, clock.now)
    closes = [None] * 9 + [CloseCode.FLOOD]
    for _ in range(2):
        refused = [refusal(socket.check_frame, 10**9, clock.now) for _ in closes]
        assert [error.close for error in refused] == closes
        clock.now += 0.95  # not enough for the whole burst of ten
        refused = [refusal(socket.check_frame, 10**9, clock.now) for _ in range(9)]
        assert [error.close for error in refused] == [None] * 8 + [CloseCode.FLOOD]
        clock.now += 1


def test_the_defaults_are_those_of_the_protocol(clock: Clock) -> None:
    socket = limits()
    for _ in range(400):
        socket.check_frame(100, clock.now)
    assert refusal(socket.check_frame, 100, clock.now).details == {"retry_after": 0.01}


# --- Shared with other sockets ----------------------------------------------------------------


def test_the_sockets_of_a_user_in_a_room_share_frames_and_bytes(clock: Clock) -> None:
    one, two, elsewhere, other = sockets(4, frame_burst=4, frame_rate=1.0, byte_burst=100)
    for socket, who in (
        (one, sender(1)),
        (two, sender(1)),
        (elsewhere, sender(1, "COFFEE")),
        (other, sender(2)),
    ):
        with socket.joining(who):
            pass
    one.check_frame(30, clock.now)
    two.check_frame(30, clock.now)
    assert refusal(two.check_frame, 50, clock.now).code == "rate_limited"  # bytes
    one.check_frame(1, clock.now)
    assert refusal(two.check_frame, 1, clock.now).code == "rate_limited"  # frames
    for socket in (elsewhere, other):
        socket.check_frame(100, clock.now)


def test_a_join_that_fails_does_not_count_for_the_room(clock: Clock) -> None:
    """An outsider must not be able to use up the joins of a room."""
    (socket,) = sockets(1, rate_limits={"join": {"room": [1, 2]}})
    for _ in range(10):
        with pytest.raises(LookupError), socket.joining(sender()):
            raise LookupError
    for _ in range(2):
        with socket.joining(sender()):
            pass
    error = refusal(socket.joining(sender()).__enter__)
    assert (error.code, error.close, error.details) == ("rate_limited", None, {"retry_after": 1.0})
    with socket.joining(sender(room="COFFEE")):
        pass


@pytest.mark.parametrize("scope", ["user", "room", "address"])
@pytest.mark.parametrize(
    ("event", "count"),
    [
        (protocol.Authenticate("x"), 3),
        (protocol.PeerUpdate(), 3),
        (protocol.WebrtcOffer("x", Raw(b"{}")), 3),
        (protocol.SfuRestart(), 3),
        (protocol.WebrtcIce("x", Raw(b'""')), 3 * RELAYS),
        (protocol.WebrtcAnswer("x", Raw(b"{}")), 3 * RELAYS),
    ],
)
def test_events_of_a_class_are_limited_by_user_room_and_address(
    event: protocol.ClientEvent, count: int, scope: str, clock: Clock
) -> None:
    """All sockets with the same user, room or address share the limit; the others have their own."""
    addresses = ["192.0.2.1", "192.0.2.1" if scope == "address" else "192.0.2.2", "192.0.2.3"]
    one, two, other = sockets(3, *addresses, rate_limits={event.cost: {scope: [1, count]}})
    senders = [
        sender(1 if scope == "user" else number, "TEA" if scope == "room" else f"R{number}")
        for number in (1, 2)
    ]
    for number in range(count):  # in blocks: a socket takes several relays at once
        which = number * 3 // count % 2
        (one, two)[which].check_event(event, senders[which])
    assert refusal(two.check_event, event, senders[1]).code == "rate_limited"
    other.check_event(event, sender(9, "OTHER"))


def test_an_address_that_many_clients_may_share_is_not_limited(clock: Clock) -> None:
    settings = SignallingSettings(rate_limits={"update": {"address": [1, 2]}})
    socket = SocketLimits(settings, Rates(settings), None)
    for _ in range(10):
        socket.check_event(protocol.PeerUpdate(), sender())


def test_a_join_is_limited_by_user_and_address_before_its_room_is_known(clock: Clock) -> None:
    join = protocol.JoinRoom("TEA")
    one, two = sockets(2, rate_limits={"join": {"user": [0.5, 2], "address": [1, 3]}})
    one.check_event(join, sender(1, None))
    two.check_event(join, sender(1, None))
    assert refusal(one.check_event, join, sender(1, None)).details == {"retry_after": 2.0}
    two.check_event(join, sender(2, None))
    assert refusal(two.check_event, join, sender(3, None)).details == {"retry_after": 1.0}
    clock.now += 1
    two.check_event(join, sender(3, None))  # the refused joins were not counted


def test_others_at_an_address_do_not_use_up_the_attempts_to_authenticate(clock: Clock) -> None:
    """A valid access token is never refused because of them."""
    crowd = sockets(1001)
    for socket in crowd[1:]:
        socket.check_event(protocol.Authenticate("wrong"), sender(None, None))
    crowd[0].check_event(protocol.Authenticate("right"), sender(None, None))


def test_pings_have_no_class(clock: Clock) -> None:
    (socket,) = sockets(1)
    for _ in range(10_000):
        socket.check_event(protocol.Ping(), sender())


def test_a_room_of_fifty_that_negotiates_anew_exceeds_no_limit(clock: Clock) -> None:
    """All at once, from one address: joins, media states, offers and 40 candidates of each."""
    everyone = sockets(50)
    events = [
        protocol.JoinRoom("TEA"),
        protocol.PeerUpdate(),
        *[protocol.WebrtcOffer("x", Raw(b"{}"))] * 9,
        *[protocol.WebrtcIce("x", Raw(b'""'))] * 90,
        protocol.SfuState(1, "receiving"),
    ]
    for number, socket in enumerate(everyone):
        who = sender(number + 1)
        for event in events:
            socket.check_frame(1000, clock.now)
            socket.check_event(event, who)
            if isinstance(event, protocol.JoinRoom):
                with socket.joining(who):
                    pass


def test_the_rates_of_rooms_grow_with_their_size(clock: Clock) -> None:
    (socket,) = sockets(1, total_limit=100, rate_limits={"join": {"room": [1, 2]}})
    for _ in range(4):
        with socket.joining(sender()):
            pass
    assert refusal(socket.joining(sender()).__enter__).details == {"retry_after": 0.5}


def test_the_rates_of_users_grow_with_their_seats(clock: Clock) -> None:
    settings = {"seats_per_user": 6, "rate_limits": {"join": {"user": [1, 2]}}, "frame_burst": 5}
    socket, other = sockets(2, **settings)
    join, joined = protocol.JoinRoom("TEA"), sender()
    for _ in range(4):
        socket.check_event(join, joined)
    assert refusal(socket.check_event, join, joined).details == {"retry_after": 0.5}
    for each in (socket, other):
        with each.joining(joined):
            pass
        for _ in range(5):
            each.check_frame(1, clock.now)
    refusal(socket.check_frame, 1, clock.now)


def test_the_tables_are_bounded(clock: Clock) -> None:
    table = SharedBuckets(1, 1, size=3)
    first = table["a"]
    for key in "bcda":
        assert table[key].take() == 0
    assert table["a"] is not first
    assert table["d"].take() > 0
    assert len(table) == 3
