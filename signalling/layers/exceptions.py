"""Exceptions that ``send`` and ``group_send`` raise, besides Channels' own ``ChannelFull``."""

from channels.exceptions import ChannelFull


class ChannelGone(ChannelFull):
    """The channel was detached: its consumer has ended."""


class Undeliverable(Exception):
    """The message did not reach the other process: Redis or the process is unavailable."""
