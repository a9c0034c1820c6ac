"""Keeps unsent data out of the kernel, so that a server notices a slow client at once."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

UNSENT_BYTES = 64 * 1024


def limit_unsent(connection: Any) -> None:
    """Let the kernel keep at most ``UNSENT_BYTES`` that it cannot send yet (Linux and macOS).

    By default, Linux takes up to 4 MB: 16 s of data for a client on 2 Mbit/s, which no queue of
    ours could bound or share. What the network can carry at once does not count.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        with suppress(OSError, AttributeError):  # a Unix socket, or not a socket
            connection.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)
