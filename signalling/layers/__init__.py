"""Two channel layers for any Channels project, fast for many small messages to single channels.

``LocalChannelLayer``
    For one process. ``send`` is O(1), ``group_send`` is O(members): no scan of other channels, and
    no copies.
``RedisChannelLayer``
    For several processes. Members in the sender's process receive messages directly. For the
    others, one Redis pub/sub channel per process carries all messages of a loop turn; see ``bus``.

Both implement the full channel layer specification: groups, flush, expiry and capacity. They differ
from the stock layers in this:

- Messages are not copied: a receiver must not change them.
- No message is dropped silently. A full channel raises ``ChannelFull`` in its sender, also in
  ``group_send``, after all other members have been served.
- A consumer can ``attach`` a function to its channel. It is called in the sender's turn of the
  event loop, without a queue in between; the consumer's own send queue is its bound.
- Order is kept for each pair of sender and channel, across ``send`` and ``group_send``.
- ``RedisChannelLayer`` keeps no messages for a process that is unavailable (``channels_redis.core``
  keeps them in Redis for ``expiry`` seconds). The sender is notified: see ``Undeliverable``.
"""

from typing import TYPE_CHECKING, Any

from .exceptions import ChannelGone, Undeliverable
from .local import LocalChannelLayer

if TYPE_CHECKING:
    from .redis import RedisChannelLayer

__all__ = ["ChannelGone", "LocalChannelLayer", "RedisChannelLayer", "Undeliverable"]


def __getattr__(name: str) -> Any:
    """Import the Redis layer on demand, because it needs redis-py and msgpack."""
    if name == "RedisChannelLayer":
        from .redis import RedisChannelLayer

        return RedisChannelLayer
    raise AttributeError(name)
