"""What the layers tell a sender, beside Channels' own ``ChannelFull``."""

from channels.exceptions import ChannelFull


class ChannelGone(ChannelFull):
    """The consumer of this channel has gone."""


class Undeliverable(Exception):
    """A message did not reach its process: Redis is away, or the process is."""
