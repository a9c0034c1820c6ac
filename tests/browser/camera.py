"""A picture for Chromium's fake camera, small enough to be encoded many times on a small machine.

Without it, each page sends 640 by 480 pixels 20 times a second to each other page.
"""

from __future__ import annotations

from pathlib import Path

WIDTH, HEIGHT, RATE = 160, 120, 10  # pixels, frames per second
FRAMES = 10


def write_video(path: Path) -> None:
    """Write a second of video: stripes that move, in the YUV4MPEG2 format (4:2:0)."""
    colour = bytes([90]) * (WIDTH * HEIGHT // 4) + bytes([170]) * (WIDTH * HEIGHT // 4)
    with path.open("wb") as video:
        video.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(FRAMES):
            row = bytes(40 + (x + number * WIDTH // FRAMES) % WIDTH for x in range(WIDTH))
            video.write(b"FRAME\n" + row * HEIGHT + colour)
