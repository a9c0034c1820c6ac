from __future__ import annotations

from signalling.peers.channels import MOST, PreviousChannels


def test_the_channels_of_a_peer_that_has_left_are_forgotten() -> None:
    channels = PreviousChannels()
    for number, peer_id in enumerate(["peer_a", "peer_b", "peer_a"]):
        channels.add(f"channel!{number}", peer_id)
    channels.forget("peer_a")
    assert channels.owners == {"channel!1": "peer_b"}


def test_the_oldest_channel_is_forgotten_if_there_are_too_many() -> None:
    channels = PreviousChannels()
    for number in range(MOST + 1):
        channels.add(f"channel!{number}", "peer_a")
    assert len(channels.owners) == MOST
    assert "channel!0" not in channels.owners
