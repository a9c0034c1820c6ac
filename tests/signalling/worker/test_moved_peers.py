"""Peers that have moved to a socket which could not take over from their former one."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms import resuming
from rooms.models import Participant, Room
from signalling.peers.detached import DetachedPeer
from signalling.worker import process
from tests.signalling.sockets import connected
from tests.signalling.worker.lost_answers import lost_answer
from tests.signalling.worker.test_reconciler import heartbeat, on_request

__all__ = ["on_request"]

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_resume_whose_commit_was_not_answered_succeeds_again_on_the_same_socket(
    room: Room, alice: User
) -> None:
    """The socket must not take the peer over from itself."""
    async with connected(alice) as first:
        token = (await first.join(resumable=True))["resumeToken"]
        await first.disconnect(1006)
    async with connected(alice) as second:
        with lost_answer(resuming, "resume"):
            data = {"roomCode": "ABC123", "resumable": True, "resumeToken": token}
            answer = await second.request("join:room", data)
            assert answer["data"]["code"] == "unavailable"
        joined = await second.join(resumable=True, resumeToken=token)
        assert (joined["resumed"], joined["gap"]) == (True, True)
        assert (await second.request("ping"))["event"] == "pong"


@pytest.mark.parametrize(("epoch", "is_forwarding"), [(2, True), (0, False)])
async def test_a_detached_peer_that_has_another_socket_forwards_to_it(
    room: Room, alice: User, epoch: int, is_forwarding: bool
) -> None:
    """Its socket may not have reached it. An earlier epoch comes from a lost failover."""
    async with connected(alice) as socket:
        await socket.join(resumable=True)
        await socket.disconnect(1006)
    (peer,) = process.get_worker().detached
    assert isinstance(peer, DetachedPeer)
    peer.membership.epoch = 1
    await Participant.objects.aupdate(epoch=epoch, channel_name="channel!other")
    await heartbeat()
    assert process.get_worker().detached == {peer}  # a takeover may be on its way
    await heartbeat()
    assert not process.get_worker().detached
    assert (peer.moved_to, peer.has_ended) == (
        "channel!other" if is_forwarding else None,
        not is_forwarding,
    )
    peer.end()
