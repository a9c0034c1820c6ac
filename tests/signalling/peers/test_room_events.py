"""``RoomEvents`` and ``DetachedPeer``: what they keep, and what comes too late."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock, Mock, patch

import pytest

from signalling.conf import SignallingSettings
from signalling.layers import ChannelGone, LocalChannelLayer
from signalling.peers.membership import Membership, StaleSocket
from signalling.peers.messages import RosterChange
from signalling.peers.resumption import Resumption
from signalling.peers.room_events import RoomEvents
from signalling.protocol import CloseCode
from signalling.transport.send_queue import Overflow
from signalling.transport.shares import ShareExceeded
from signalling.transport.subscription import ChannelSubscription

EPOCH = 3


def my_return(number: int) -> RosterChange:
    """Announce that the peer itself has resumed, in the epoch ``number``."""
    return RosterChange(
        type="signalling.roster",
        room="ABC123",
        peer_id="peer_me",
        channel="channel!other",
        change="back",
        number=number,
        frame='{"event": "peer:back"}',
    )


def relayed(number: int, sender: str = "peer_other") -> dict[str, Any]:
    return {
        "type": "signalling.relay",
        "target": "peer_me",
        "sender": sender,
        "user": sender,
        "number": number,
        "reply_channel": "",
        "frame": f"frame {number} of {sender}",
    }


class Parts:
    """The parts of a socket in the room, without a socket."""

    def __init__(self, **settings: Any) -> None:
        self.settings = SignallingSettings(**settings)
        self.replies = Mock()
        self.send_queue = Mock(waiting=0)
        self.heartbeat = Mock(proven_at=0.0)
        self.timers = Mock()
        self.worker = Mock()
        self.worker.suspensions.stood_still_at = float("-inf")
        self.stores = Mock(
            channel_name="channel!me",
            database=AsyncMock(),
            record=AsyncMock(),
            publish=AsyncMock(),
            send=AsyncMock(),
            unsubscribe=AsyncMock(),
        )
        self.tasks: set[asyncio.Task[None]] = set()
        self.subscription = ChannelSubscription(LocalChannelLayer(), Mock())
        self.resumption = Resumption(
            self.settings,
            worker=self.worker,
            stores=self.stores,
            replies=self.replies,
            send_queue=self.send_queue,
            heartbeat=self.heartbeat,
            timers=self.timers,
            subscription=self.subscription,
            release_subscription=Mock(),
        )
        self.room = RoomEvents(
            self.settings,
            worker=self.worker,
            stores=self.stores,
            replies=self.replies,
            resumption=self.resumption,
            tasks=self.tasks,
        )
        self.membership = self.room.membership = Membership(
            "ABC123", peer_id="peer_me", epoch=EPOCH, roster={"peer_other": "channel!other"}
        )

    @property
    def written(self) -> list[str]:
        return [call.args[0] for call in self.replies.write.call_args_list]

    @property
    def errors(self) -> list[tuple[str, int | None]]:
        """The codes of the errors that were sent, and what the socket was closed with."""
        calls = self.replies.send_error.call_args_list + self.replies.push_error.call_args_list
        return [(call.args[0].code, call.args[0].close) for call in calls]

    async def settle(self) -> None:
        """Wait for the tasks that were started."""
        if self.tasks:
            await asyncio.wait(self.tasks)


def test_messages_that_wait_for_the_join_are_limited() -> None:
    parts = Parts(outbound_frames=5)
    for number in range(3):
        parts.room.deliver(relayed(number))
    with pytest.raises(ShareExceeded):  # raised to the sender
        parts.room.deliver(relayed(3))
    for _ in range(5):
        parts.room.deliver(dict(my_return(EPOCH)))
    with pytest.raises(Overflow):  # closes the socket
        parts.room.deliver(dict(my_return(EPOCH)))


@pytest.mark.parametrize("number", [EPOCH, EPOCH - 1])
def test_a_late_return_in_this_or_an_earlier_epoch_does_not_close_the_socket(number: int) -> None:
    parts = Parts()
    parts.membership.is_seated = True
    parts.room.deliver(dict(my_return(number)))
    assert parts.room.membership is parts.membership
    assert not parts.replies.mock_calls


@pytest.mark.parametrize(("number", "has_moved"), [(EPOCH, False), (EPOCH + 1, True)])
async def test_only_a_later_epoch_moves_a_detached_peer(number: int, has_moved: bool) -> None:
    parts = Parts()
    await parts.subscription.open()
    detached = parts.resumption.detach(parts.membership, [], is_abandoned=False)
    detached.deliver(dict(my_return(number)))
    assert detached.moved_to == ("channel!other" if has_moved else None)
    detached.end()


async def test_a_socket_whose_peer_is_back_elsewhere_passes_on_what_is_still_sent_to_it() -> None:
    """A server that was stopped reads all of that at once."""
    parts = Parts()
    parts.membership.is_seated = True
    await parts.subscription.open()
    layer = parts.subscription.layer
    received: list[Any] = []
    layer.attach("channel!other", received.append)
    parts.subscription.pass_to(parts.room.deliver)
    for message in (dict(my_return(EPOCH + 1)), relayed(1)):
        layer.put(parts.subscription.name, message)
    assert received == [relayed(1)]
    assert parts.replies.push_error.call_args.args[0].close == CloseCode.RESUMED_ELSEWHERE
    (detached,) = [call.args[0] for call in parts.worker.detached.add.call_args_list]
    detached.end()


def test_a_relay_to_a_socket_without_a_peer_is_refused() -> None:
    parts = Parts()
    parts.room.membership = None
    with pytest.raises(ChannelGone):
        parts.room.deliver(relayed(1))
    parts.room.deliver(my_return(1))


def test_held_frames_of_a_peer_that_has_left_are_dropped() -> None:
    parts = Parts()
    frames = [("peer_gone", 1, "of peer_gone"), ("peer_other", 1, "of peer_other")]
    parts.resumption.restore(
        parts.membership, {"frames": frames, "sent": {}, "received": {}, "gap": False}
    )
    parts.resumption.release(parts.membership)
    assert parts.written == ["of peer_other"]


def test_frames_that_wait_for_their_turn_are_dropped_when_their_sender_leaves() -> None:
    parts = Parts()
    parts.membership.roster["peer_leaving"] = "channel!leaving"
    parts.resumption.restore(
        parts.membership, {"frames": [], "sent": {}, "received": {}, "gap": False}
    )
    parts.membership.is_seated = True
    for sender in ("peer_leaving", "peer_other"):
        parts.room.deliver(relayed(2, sender))  # the first is still on its way
    parts.resumption.settle_later(parts.membership)
    del parts.membership.roster["peer_leaving"]
    settle = parts.timers.start.call_args.args[1]
    settle()
    assert parts.written == ["frame 2 of peer_other"]


def restored(has_resumed: bool) -> Parts:
    """Return a socket that has resumed; whether the sender has resumed before, too."""
    parts = Parts()
    if has_resumed:
        parts.membership.relay_epochs["peer_other"] = 1
    parts.resumption.restore(
        parts.membership, {"frames": [], "sent": {}, "received": {"peer_other": 7}, "gap": False}
    )
    parts.membership.is_seated = True
    return parts


def settle(parts: Parts) -> None:
    parts.resumption.settle_later(parts.membership)
    parts.timers.start.call_args.args[1]()


@pytest.mark.parametrize("has_resumed", [False, True])
def test_a_relay_that_comes_after_the_wait_for_it_is_refused(has_resumed: bool) -> None:
    """Two moves of the receiver may hold it up, while later ones come directly."""
    parts, epoch = restored(has_resumed), {"epoch": int(has_resumed)}
    parts.room.deliver(relayed(9) | epoch)
    settle(parts)
    with pytest.raises(StaleSocket):
        parts.room.deliver(relayed(8) | epoch)
    parts.room.deliver(relayed(10) | epoch)
    assert parts.written == ["frame 9 of peer_other", "frame 10 of peer_other"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_sender_that_has_resumed_with_a_gap_counts_again(waits: bool) -> None:
    """It may have begun before the receiver has resumed."""
    parts, epoch = restored(has_resumed=True), {"epoch": 1}
    if not waits:
        settle(parts)
    parts.room.deliver(relayed(1) | epoch)
    if waits:
        settle(parts)
    for number in (2, 3):
        parts.room.deliver(relayed(number) | epoch)
    with pytest.raises(StaleSocket):
        parts.room.deliver(relayed(2) | epoch)
    assert parts.written == [f"frame {number} of peer_other" for number in (1, 2, 3)]


def test_relays_that_a_former_channel_held_up_are_refused() -> None:
    """The peer has resumed without the state of that channel, and later relays have arrived."""
    parts = Parts()
    parts.membership.is_seated = True
    parts.room.deliver(relayed(8) | {"epoch": 0})
    for number in (6, 7, 8):
        with pytest.raises(StaleSocket):
            parts.room.deliver(relayed(number) | {"epoch": 0})
    parts.room.deliver(relayed(9) | {"epoch": 0})
    parts.room.deliver(relayed(1) | {"epoch": 1})  # the sender has resumed, and counts again
    with pytest.raises(StaleSocket):
        parts.room.deliver(relayed(1) | {"epoch": 1})
    assert parts.written == [f"frame {number} of peer_other" for number in (8, 9, 1)]


def test_a_relay_that_was_kept_for_an_unknown_sender_is_refused() -> None:
    """Its join was announced and lost: it must send again, when this peer knows it."""
    parts = Parts()
    parts.room.deliver(relayed(1, "peer_new"))
    with patch.object(parts.room.relays, "refuse") as refuse:
        parts.room.seated()
    (message,) = refuse.call_args.args
    assert message["sender"] == "peer_new"
    assert parts.written == []
