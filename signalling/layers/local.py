"""The channel layer of one process."""

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
    """What is on its way to one channel: nothing where a consumer is attached, else a bounded queue."""

    __slots__ = ("arrived", "deliver", "groups", "loop", "queue", "read_at", "readers", "thread")

    def __init__(self) -> None:
        self.deliver: Deliver | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = 0  # the loop's: asking for the running loop costs a system call
        self.queue: deque[tuple[float, Message]] = deque()
        self.arrived: asyncio.Event | None = None
        self.readers = 0
        self.groups: set[str] = set()
        self.read_at = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Nothing would be lost with it."""
        return not (self.queue or self.is_awaited)

    @property
    def is_awaited(self) -> bool:
        """Somebody is there for what comes."""
        return bool(self.deliver or self.readers or self.groups)

    def hand_over(self, message: Message) -> None:
        assert self.deliver is not None
        if self.thread == get_ident():
            self.deliver(message)
        elif self.loop is not None:  # a send from another thread's loop
            try:
                self.loop.call_soon_threadsafe(self.deliver, message)
            except RuntimeError:  # which has ended, and its consumer with it
                raise ChannelGone from None

    def keep(self, message: Message, capacity: int, expiry: float) -> None:
        """Keep a message for ``get``; raises ``ChannelFull``."""
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
        """Return the next message that has not expired, waiting for it."""
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
    """The channel layer of one process; what the package says of both holds."""

    extensions = ("groups", "flush")

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 100,
        channel_capacity: dict[Any, int] | None = None,
        prefix: str = "local",
    ) -> None:
        """``expiry``: seconds that a message waits; ``capacity``: messages that wait for a channel.

        ``group_expiry``: seconds without a ``receive`` after which a full channel is taken for
        abandoned and put out of its groups.
        """
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self.prefix = prefix
        self.channels: dict[str, Mailbox] = {}
        self.groups: dict[str, dict[str, Mailbox]] = {}
        self._gone: OrderedDict[str, float] = OrderedDict()
        # Channels with messages that perhaps nobody ever reads, and when to look after them.
        self._unread: OrderedDict[str, float] = OrderedDict()

    # --- The channel layer specification ----------------------------------------------------

    async def send(self, channel: str, message: Message) -> None:
        self.put(channel, message)

    async def receive(self, channel: str) -> Message:
        mailbox = self._mailbox(channel)
        self._gone.pop(channel, None)
        try:
            return await mailbox.get()
        finally:
            self._settle(channel)

    async def new_channel(self, prefix: str | None = None) -> str:
        return f"{prefix or self.prefix}!{secrets.token_hex(12)}"

    async def group_add(self, group: str, channel: str) -> None:
        """A channel that was detached joins nothing any more."""
        self.require_valid_group_name(group)
        if channel in self._gone:
            return
        mailbox = self._mailbox(channel)
        mailbox.groups.add(group)
        self.groups.setdefault(group, {})[channel] = mailbox

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        mailbox = self.groups.get(group, {}).get(channel)
        if mailbox is not None:
            self._leave(group, channel, mailbox)
            self._settle(channel)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_group_name(group)
        self.put_group(group, message)

    async def flush(self) -> None:
        """Forget all messages and groups; who waits or is attached goes on hearing."""
        self.groups.clear()
        self._gone.clear()
        for channel, mailbox in tuple(self.channels.items()):
            mailbox.queue.clear()
            mailbox.groups.clear()
            self._settle(channel)

    # --- Beyond it ---------------------------------------------------------------------------

    def attach(self, channel: str, deliver: Deliver) -> None:
        """Have ``deliver`` called with each message of a channel, in the turn of its sender.

        It must return at once and raise nothing. What has been waiting is delivered first.
        """
        mailbox = self._mailbox(channel)
        self._gone.pop(channel, None)
        mailbox.loop, mailbox.thread = asyncio.get_running_loop(), get_ident()
        mailbox.deliver = deliver
        mailbox.drop_expired()
        while mailbox.queue:
            deliver(mailbox.queue.popleft()[1])

    def detach(self, channel: str) -> None:
        """Forget a channel: it leaves its groups, and a send to it raises ``ChannelGone``."""
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
        """``send`` without a coroutine."""
        mailbox = self.channels.get(channel)
        if mailbox is not None and mailbox.deliver is not None:
            mailbox.hand_over(message)
            return
        if channel in self._gone:
            raise ChannelGone
        if not isinstance(message, dict):
            raise TypeError("A message of a channel layer is a dict.")
        if mailbox is None:
            mailbox = self._mailbox(channel)
        mailbox.keep(message, self.get_capacity(channel), self.expiry)
        if not mailbox.is_awaited:
            self._settle(channel)

    def put_group(self, group: str, message: Message) -> None:
        """``group_send`` without a coroutine."""
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
            raise ChannelFull(f"{full} members of the group do not keep up")

    def put_attached(self, message: Message) -> None:
        """Tell every attached consumer something."""
        for mailbox in tuple(self.channels.values()):
            if mailbox.deliver is not None:
                mailbox.hand_over(message)

    def _leave(self, group: str, channel: str, mailbox: Mailbox) -> None:
        mailbox.groups.discard(group)
        members = self.groups.get(group, {})
        members.pop(channel, None)
        if not members:
            self.groups.pop(group, None)

    def _settle(self, channel: str) -> None:
        """Forget an idle channel; where messages wait for nobody, look again when they have expired."""
        mailbox = self.channels.get(channel)
        if mailbox is None:
            return
        if mailbox.is_idle:
            del self.channels[channel]
            self._unread.pop(channel, None)
        elif not mailbox.is_awaited and channel not in self._unread:
            self._unread[channel] = time.monotonic() + self.expiry

    def _sweep(self) -> None:
        """Forget what has expired unread. No timers: the loop of a sender may end before they do."""
        now = time.monotonic()
        while self._unread and next(iter(self._unread.values())) <= now:
            channel, _ = self._unread.popitem(last=False)
            if channel in self.channels:
                self.channels[channel].drop_expired()
                self._settle(channel)

    def _mailbox(self, channel: str) -> Mailbox:
        mailbox = self.channels.get(channel)
        if mailbox is None:
            self.require_valid_channel_name(channel)
            self._sweep()
            mailbox = self.channels[channel] = Mailbox()
        return mailbox
