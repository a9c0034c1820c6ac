"""The relays of one client. ``test_refused_relays.py`` has those of the whole application."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from signalling import metrics
from signalling.peers.membership import Membership
from signalling.peers.relays import Relays
from signalling.protocol import ProtocolError
from signalling.protocol.errors import peer_busy, rate_limited, unavailable


@pytest.fixture
def stores() -> Any:
    return Mock(channel_name="me!1", can_put=True, send=AsyncMock())


@pytest.fixture
def membership() -> Membership:
    membership = Membership("ABC123", peer_id="peer_me")
    membership.roster.update(peer_a="a!1", peer_b="b!1")
    return membership


@pytest.mark.parametrize("can_put", [True, False])
@pytest.mark.parametrize("wait", [True, False])
async def test_relays_are_numbered_for_each_target_from_one_on(
    stores: Any, membership: Membership, can_put: bool, wait: bool
) -> None:
    stores.can_put = can_put
    relays = Relays(stores=stores, replies=Mock())
    for target in ("peer_a", "peer_a", "peer_b"):
        await relays.send(membership, target, "{}", wait=wait)
    used, unused = stores.put, stores.send
    if wait or not can_put:
        used, unused = unused, used
    assert not unused.called
    sent = [(channel, message["number"]) for (channel, message), _ in used.call_args_list]
    assert sent == [("a!1", 1), ("a!1", 2), ("b!1", 1)]


@pytest.mark.parametrize(
    ("error", "is_named"),
    [(unavailable(), True), (peer_busy(), True), (rate_limited(1, "x"), False)],
)
async def test_an_error_names_the_target_only_if_the_relay_was_not_delivered(
    stores: Any, membership: Membership, error: ProtocolError, is_named: bool
) -> None:
    stores.send.side_effect = error
    with pytest.raises(ProtocolError) as raised:
        await Relays(stores=stores, replies=Mock()).send(membership, "peer_a", "{}", wait=True)
    assert ("target_peer_id" in raised.value.details) is is_named


@pytest.mark.parametrize("kind", ["channel.lost", "channel.refused"])
def test_a_loss_is_reported_for_the_peer_whose_channel_it_was(
    stores: Any, membership: Membership, kind: Any
) -> None:
    membership.previous_channels.add("b!0", "peer_b")
    replies = Mock()
    before = metrics.totals["undelivered"]
    for channel in ("a!1", "b!0", "c!1"):
        message: Any = {"type": kind, "channel": channel}
        Relays(stores=stores, replies=replies).report(membership, message)
    errors = [error for (error,), _ in replies.send_error.call_args_list]
    code = "unavailable" if kind == "channel.lost" else "peer_busy"
    assert [(error.code, error.details) for error in errors] == [
        (code, {"retry_after": 1, "target_peer_id": peer_id}) for peer_id in ("peer_a", "peer_b")
    ]
    assert metrics.totals["undelivered"] == before + 3


def test_a_loss_at_a_channel_is_reported_when_its_peer_is_known(
    stores: Any, membership: Membership
) -> None:
    """A former channel has forwarded two relays, before the announcement of the new one came."""
    replies = Mock()
    relays = Relays(stores=stores, replies=replies)
    message: Any = {"type": "channel.lost", "channel": "b!2"}
    for _ in range(2):
        relays.report(membership, message)
    relays.roster_changed(membership)
    assert not replies.send_error.called
    membership.roster["peer_b"] = "b!2"
    for _ in range(2):
        relays.roster_changed(membership)
    errors = [error for (error,), _ in replies.send_error.call_args_list]
    assert [error.details["target_peer_id"] for error in errors] == ["peer_b"] * 2


@pytest.mark.parametrize(("peer_id", "reported"), [("peer_b", ["peer_b"]), ("peer_gone", [])])
def test_a_loss_is_reported_for_the_peer_that_the_report_names(
    stores: Any, membership: Membership, peer_id: str, reported: list[str]
) -> None:
    replies = Mock()
    message: Any = {"type": "channel.lost", "channel": "unknown!1", "peer_id": peer_id}
    Relays(stores=stores, replies=replies).report(membership, message)
    errors = [error for (error,), _ in replies.send_error.call_args_list]
    assert [error.details["target_peer_id"] for error in errors] == reported


def test_only_relays_are_refused_and_a_sender_may_be_gone(stores: Any) -> None:
    stores.forward.side_effect = unavailable()
    relays = Relays(stores=stores, replies=Mock())
    other: Any = {"type": "channel.missed"}
    relays.refuse(other)
    assert not stores.forward.called
    relay: Any = {"type": "signalling.relay", "reply_channel": "you!1", "target": "peer_me"}
    relays.refuse(relay)
    refused = {"type": "channel.refused", "channel": "me!1", "peer_id": "peer_me"}
    stores.forward.assert_called_once_with("you!1", refused)
