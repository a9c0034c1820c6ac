"""The media of fake peers: a few frames, encoded once and repeated.

Encoding is the most expensive work of a peer, and in a mesh it is repeated for each connection. So fake
peers do not encode during a call. Every video frame is a keyframe: a new receiver can display it at
once and never has to request one.
"""

from __future__ import annotations

import asyncio
import colorsys
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from aiortc import MediaStreamTrack
from av import AudioFrame, CodecContext, Packet, VideoFrame
from av.audio.codeccontext import AudioCodecContext
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

WIDTH, HEIGHT = 160, 120
VIDEO_CLOCK, AUDIO_CLOCK = 90_000, 48_000
AUDIO_SAMPLES = 960  # 20 ms
GOLDEN_ANGLE = 0.618  # of a full turn; consecutive hues differ clearly
MAX_DELAY_SECONDS = 1.0  # a track that is further behind skips frames

DIGITS = {
    "0": "### # # # # # ###", "1": " #   #   #   #   # ", "2": "###   # ### #   ###",
    "3": "###   # ###   # ###", "4": "# # # # ###   #   #", "5": "### #   ###   # ###",
    "6": "### #   ### # # ###", "7": "###   #   #   #   #", "8": "### # # ### # # ###",
    "9": "### # # ###   # ###",
}  # fmt: skip
DOT = 12  # size of a dot of a digit, in pixels


@dataclass(frozen=True)
class Clip:
    """Encoded frames of equal duration, to be repeated."""

    kind: str
    packets: tuple[bytes, ...]
    clock: int
    ticks: int
    """The duration of a frame, in units of ``1 / clock`` seconds."""

    @property
    def seconds(self) -> float:
        return self.ticks / self.clock


class Replay(MediaStreamTrack):
    """A track that repeats a clip forever. Each sender needs its own track."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.kind = clip.kind
        self._clip = clip
        self._number = -1
        self._started_at = 0.0

    async def recv(self) -> Packet[Stream]:
        await self._pace()
        clip = self._clip
        packet: Packet[Stream] = Packet(clip.packets[self._number % len(clip.packets)])
        packet.pts = self._number * clip.ticks
        packet.time_base = Fraction(1, clip.clock)
        return packet

    async def _pace(self) -> None:
        """Wait until the next frame is due. Skip frames that are long overdue."""
        now, seconds = asyncio.get_running_loop().time(), self._clip.seconds
        self._started_at = self._started_at or now
        self._number += 1
        late = now - self._started_at - self._number * seconds
        if late > MAX_DELAY_SECONDS:
            self._number += int(late / seconds)
        await asyncio.sleep(-late)


@cache
def picture(number: int, fps: float = 5.0) -> Clip:
    """Return a VP8 clip: the number on a colour that depends on it, and a moving bar."""
    encoder = CodecContext.create("libvpx", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.bit_rate, encoder.framerate = 100_000, Fraction(fps).limit_denominator(100)
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    frames = max(4, round(2 * fps))
    packets = [packet for frame in _pictures(number, frames) for packet in encoder.encode(frame)]
    return Clip("video", tuple(bytes(p) for p in packets), VIDEO_CLOCK, int(VIDEO_CLOCK / fps))


@cache
def tone(number: int) -> Clip:
    """Return an Opus clip: a tone whose pitch depends on the number."""
    encoder = CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.rate, encoder.layout, encoder.format = AUDIO_CLOCK, "stereo", "s16"
    encoder.bit_rate = 24_000
    hertz = round(220 * 2 ** (number % 24 / 12))  # an integer, so that repeating makes no click
    packets = [bytes(p) for frame in _sine_wave(hertz, 2) for p in encoder.encode(frame)]
    # Use the second of the two seconds: the sound fades in during the first.
    per_second = AUDIO_CLOCK // AUDIO_SAMPLES
    return Clip("audio", tuple(packets[-per_second:]), AUDIO_CLOCK, AUDIO_SAMPLES)


def _pictures(number: int, count: int) -> Iterator[VideoFrame]:
    luma, blue, red = _colour(number)
    for index in range(count):
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        lines = _lines(luma, str(number), WIDTH * index // count)
        width = frame.planes[0].line_size
        frame.planes[0].update(b"".join(line.ljust(width, b"\0") for line in lines))
        for plane, value in zip(frame.planes[1:], (blue, red), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.pict_type = index, PictureType.I
        yield frame


def _colour(number: int) -> tuple[int, int, int]:
    """Return a colour as Y, Cb and Cr (ITU-R BT.601)."""
    r, g, b = colorsys.hsv_to_rgb(number * GOLDEN_ANGLE % 1, 0.8, 0.7)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return round(16 + 219 * luma), round(128 + 126 * (b - luma)), round(128 + 160 * (r - luma))


def _lines(luma: int, text: str, bar: int) -> list[bytes]:
    lines = [bytearray([luma]) * WIDTH for _ in range(HEIGHT)]
    for line in lines[-DOT:]:
        line[bar : bar + DOT] = bytes([235]) * len(line[bar : bar + DOT])
    left = (WIDTH - (4 * len(text) - 1) * DOT) // 2
    for index, digit in enumerate(text):
        _draw(lines, digit, left + 4 * DOT * index)
    return [bytes(line) for line in lines]


def _draw(lines: list[bytearray], digit: str, left: int) -> None:
    for row in range(5):
        for column in range(3):
            if DIGITS[digit][4 * row + column : 4 * row + column + 1] == "#":
                start = left + DOT * column
                for line in lines[2 * DOT + DOT * row :][:DOT]:
                    line[start : start + DOT] = bytes([235]) * DOT


def _sine_wave(hertz: int, seconds: int) -> Iterator[AudioFrame]:
    for start in range(0, seconds * AUDIO_CLOCK, AUDIO_SAMPLES):
        times = range(start, start + AUDIO_SAMPLES)
        wave = [round(3000 * math.sin(2 * math.pi * hertz * t / AUDIO_CLOCK)) for t in times]
        frame = AudioFrame(format="s16", layout="stereo", samples=AUDIO_SAMPLES)
        frame.planes[0].update(array("h", [value for value in wave for _ in "LR"]).tobytes())
        frame.sample_rate, frame.pts = AUDIO_CLOCK, start
        yield frame
