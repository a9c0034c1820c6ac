"""The messages of the channel layer that arrive before ``room:joined`` has been sent."""

from __future__ import annotations

from signalling.transport.send_queue import Overflow
from signalling.transport.shares import Shares

from .messages import Message


class EarlyMessages:
    """Keeps messages until the socket is seated: at most ``max_frames`` besides relays.

    Relays are bounded in frames and bytes, and each user has a share of that.
    """

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self.clear()

    def keep(self, message: Message) -> None:
        """Keep a message. Raises ``ShareExceeded`` for a relay, else ``Overflow``."""
        if message["type"] == "signalling.relay":
            user = message.get("user", message["sender"])
            self._shares.take(user, len(message["frame"]))
        elif not self._free:
            raise Overflow
        else:
            self._free -= 1
        self._messages.append(message)

    def take(self) -> list[Message]:
        """Return the messages in the order of their arrival, and forget them."""
        messages = self._messages
        self.clear()
        return messages

    def clear(self) -> None:
        self._messages: list[Message] = []
        self._shares = Shares(self._max_frames, self._max_bytes)
        self._free = self._max_frames
