"""The clips of fake peers: encoded once, and decodable from any frame on."""

from __future__ import annotations

import pytest
from av import CodecContext, Packet

from fake_peers import media


def decoded(packet: bytes) -> list[bytes]:
    """Return the luma planes of a packet, from a new decoder."""
    frames = CodecContext.create("libvpx", "r").decode(Packet(packet))
    return [bytes(frame.planes[0]) for frame in frames]


def test_each_video_frame_is_decodable_alone_and_the_picture_moves() -> None:
    clip = media.picture(7, 5.0)
    assert clip.seconds == pytest.approx(0.2)
    pictures = [decoded(packet) for packet in clip.packets]
    assert [len(picture) for picture in pictures] == [1] * 10
    assert len({picture[0] for picture in pictures}) > 5


def test_each_peer_has_a_different_picture() -> None:
    first = {decoded(media.picture(number, 2.0).packets[0])[0] for number in range(1, 14)}
    assert len(first) == 13


def test_a_tone_consists_of_one_second_of_20_ms_packets() -> None:
    clip = media.tone(1)
    assert len(clip.packets) == 50
    assert clip.seconds == pytest.approx(0.02)
    assert media.tone(2).packets != clip.packets


async def test_a_replay_repeats_the_clip_while_its_timestamps_increase() -> None:
    clip = media.Clip("video", (b"a", b"b"), clock=1000, ticks=1)
    track = media.Replay(clip)
    packets = [await track.recv() for _ in range(5)]
    assert [bytes(packet) for packet in packets] == [b"a", b"b", b"a", b"b", b"a"]
    assert [packet.pts for packet in packets] == [0, 1, 2, 3, 4]
