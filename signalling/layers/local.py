"""The channel layer for one process."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import get_ident
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer

from .exceptions import ChannelGone

Message = dict[str, Any]
Deliver = Callable[[Message], None]


class Mailbox:
    """One channel: either a consumer is attached to it, or messages wait in a bounded queue."""

    __slots__ = ("arrived", "deliver", "groups", "loop", "queue", "read_at", "readers", "thread")

    def __init__(self) -> None:
        self.deliver: Deliver | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = 0  # of the loop; asking for the running loop costs a system call
        self.queue: deque[tuple[float, Message]] = deque()
        self.arrived: asyncio.Event | None = None
        self.readers = 0
        self.groups: set[str] = set()
        self.read_at = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether the mailbox can be removed without losing anything."""
        return not (self.queue or self.is_awaited)

    @property
    def is_awaited(self) -> bool:
        """Whether a consumer, a receiver or a group uses the channel."""
        return bool(self.deliver or self.readers or self.groups)

    def deliver_now(self, message: Message) -> None:
        """Call the attached consumer.

        Raises ``ChannelGone`` if its loop, in another thread, has ended.
        """
        assert self.deliver is not None
        if self.thread == get_ident():
            self.deliver(message)
        elif self.loop is not None:  # called from the loop of another thread
            try:
                self.loop.call_soon_threadsafe(self.deliver, message)
            except RuntimeError:  # the consumer's loop is closed
                raise ChannelGone from None

    def enqueue(self, message: Message, capacity: int, expiry: float) -> None:
        """Keep a message for ``get``, for ``expiry`` seconds. Raises ``ChannelFull``."""
        self.drop_expired()
        if len(self.queue) >= capacity:
            raise ChannelFull
        self.queue.append((time.monotonic() + expiry, message))
        if self.arrived is None or self.loop is None:
            return
        if self.thread == get_ident():
            self.arrived.set()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.arrived.set)

    def drop_expired(self) -> None:
        now = time.monotonic()
        while self.queue and self.queue[0][0] <= now:
            self.queue.popleft()

    async def get(self) -> Message:
        """Wait for the next message that has not expired and return it."""
        loop = asyncio.get_running_loop()
        if self.arrived is None or self.loop is not loop:
            self.loop, self.thread, self.arrived = loop, get_ident(), asyncio.Event()
        self.readers += 1
        try:
            while True:
                self.read_at = time.monotonic()
                while self.queue:
                    expires_at, message = self.queue.popleft()
                    if expires_at > self.read_at:
                        return message
                self.arrived.clear()
                await self.arrived.wait()
        finally:
            self.readers -= 1


class LocalChannelLayer(BaseChannelLayer):
    """The channel layer for one process; the package's documentation describes both layers."""

    extensions = ("groups", "flush")

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 100,
        channel_capacity: dict[Any, int] | None = None,
        prefix: str = "local",
    ) -> None:
        """Configure the layer.

        - ``expiry``: seconds that a message waits for its receiver.
        - ``group_expiry``: seconds without a ``receive`` after which a full channel counts as
          abandoned and is removed from its groups.
        - ``capacity``: messages that may wait in one channel.
        - ``channel_capacity``: other capacities, by glob pattern or compiled regular expression.
        - ``prefix``: the prefix of new channel names.
        """
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self.prefix = prefix
        self.channels: dict[str, Mailbox] = {}
        self.groups: dict[str, dict[str, Mailbox]] = {}
        self._gone: OrderedDict[str, float] = OrderedDict()
        # Channels without a reader that hold messages, and when to check them for expiry.
        self._unread: OrderedDict[str, float] = OrderedDict()

    # --- The channel layer specification ----------------------------------------------------

    async def send(self, channel: str, message: Message) -> None:
        """Send a message to a channel. Raises ``ChannelFull`` and ``ChannelGone``."""
        self.put(channel, message)

    async def receive(self, channel: str) -> Message:
        """Wait for the next message of a channel and return it."""
        mailbox = self._mailbox(channel)
        self._gone.pop(channel, None)
        try:
            return await mailbox.get()
        finally:
            self._discard_if_idle(channel)

    async def new_channel(self, prefix: str | None = None) -> str:
        """Return a new, unique channel name."""
        return f"{prefix or self.prefix}!{secrets.token_hex(12)}"

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group; ignored for a channel that was detached."""
        self.require_valid_group_name(group)
        if channel in self._gone:
            return
        mailbox = self._mailbox(channel)
        mailbox.groups.add(group)
        self.groups.setdefault(group, {})[channel] = mailbox

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group, if it is a member."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        mailbox = self.groups.get(group, {}).get(channel)
        if mailbox is not None:
            self._leave(group, channel, mailbox)
            self._discard_if_idle(channel)

    async def group_send(self, group: str, message: Message) -> None:
        """Send a message to all members.

        Raises ``ChannelFull`` after all others have been served.
        """
        self.require_valid_group_name(group)
        self.put_group(group, message)

    async def flush(self) -> None:
        """Remove all messages and groups. Attached consumers and waiting receivers stay."""
        self.groups.clear()
        self._gone.clear()
        for channel, mailbox in tuple(self.channels.items()):
            mailbox.queue.clear()
            mailbox.groups.clear()
            self._discard_if_idle(channel)

    # --- Beyond the specification ---------------------------------------------------------------

    def attach(self, channel: str, deliver: Deliver) -> None:
        """Call ``deliver`` with each message of a channel, in the sender's turn of the event loop.

        ``deliver`` must return at once and may raise only ``ChannelFull``. Messages that wait
        already come first.
        """
        mailbox = self._mailbox(channel)
        self._gone.pop(channel, None)
        mailbox.loop, mailbox.thread = asyncio.get_running_loop(), get_ident()
        mailbox.deliver = deliver
        mailbox.drop_expired()
        while mailbox.queue:
            deliver(mailbox.queue.popleft()[1])

    def detach(self, channel: str) -> None:
        """Remove a channel from its groups. From now on a send to it raises ``ChannelGone``."""
        mailbox = self.channels.pop(channel, None)
        if mailbox is None:
            return
        for group in tuple(mailbox.groups):
            self._leave(group, channel, mailbox)
        now = time.monotonic()
        self._gone[channel] = now + self.expiry
        while self._gone and next(iter(self._gone.values())) <= now:
            self._gone.popitem(last=False)

    def put(self, channel: str, message: Message) -> None:
        """``send`` as a plain function."""
        mailbox = self.channels.get(channel)
        if mailbox is not None and mailbox.deliver is not None:
            mailbox.deliver_now(message)
            return
        if channel in self._gone:
            raise ChannelGone
        if not isinstance(message, dict):
            raise TypeError("A message of a channel layer must be a dict.")
        if mailbox is None:
            mailbox = self._mailbox(channel)
        mailbox.enqueue(message, self.get_capacity(channel), self.expiry)
        if not mailbox.is_awaited:
            self._discard_if_idle(channel)

    def put_group(self, group: str, message: Message) -> None:
        """``group_send`` as a plain function."""
        full = 0
        for channel, mailbox in tuple(self.groups.get(group, {}).items()):
            try:
                self.put(channel, message)
            except ChannelFull:
                if time.monotonic() - mailbox.read_at > self.group_expiry:
                    self.detach(channel)
                else:
                    full += 1
        if full:
            raise ChannelFull(f"{full} members of the group are full")

    def put_attached(self, message: Message) -> None:
        """Send a message to every attached consumer."""
        for mailbox in tuple(self.channels.values()):
            if mailbox.deliver is not None:
                mailbox.deliver_now(message)

    def _leave(self, group: str, channel: str, mailbox: Mailbox) -> None:
        mailbox.groups.discard(group)
        members = self.groups.get(group, {})
        members.pop(channel, None)
        if not members:
            self.groups.pop(group, None)

    def _discard_if_idle(self, channel: str) -> None:
        """Remove an idle channel.

        If it holds messages without a reader, check again after their expiry.
        """
        mailbox = self.channels.get(channel)
        if mailbox is None:
            return
        if mailbox.is_idle:
            del self.channels[channel]
            self._unread.pop(channel, None)
        elif not mailbox.is_awaited and channel not in self._unread:
            self._unread[channel] = time.monotonic() + self.expiry

    def _discard_expired(self) -> None:
        """Remove unread messages that have expired.

        Without timers: a sender's loop may end first.
        """
        now = time.monotonic()
        while self._unread and next(iter(self._unread.values())) <= now:
            channel, _ = self._unread.popitem(last=False)
            if channel in self.channels:
                self.channels[channel].drop_expired()
                self._discard_if_idle(channel)

    def _mailbox(self, channel: str) -> Mailbox:
        mailbox = self.channels.get(channel)
        if mailbox is None:
            self.require_valid_channel_name(channel)
            self._discard_expired()
            mailbox = self.channels[channel] = Mailbox()
        return mailbox
