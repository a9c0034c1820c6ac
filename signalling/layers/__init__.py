"""Two channel layers for any Channels project, made for many small messages to single channels.

``LocalChannelLayer``
    One process. A send is O(1) and a group send O(members): no scan of other channels, no copy.
``RedisChannelLayer``
    Several processes. Members in the sender's process get a message directly; for the others one
    Redis pub/sub channel a process carries all that one loop turn has for it. See ``pubsub``.

Both are whole channel layers: groups, flush, expiry and capacity. What they promise beyond, and less
than, the stock layers:

- A message is handed over as it is, not copied: who receives it must not change it.
- Nothing is dropped in silence. A full channel raises ``ChannelFull`` at its sender, also in
  ``group_send``, after all the other members have been served.
- A consumer may ``attach`` a function to its channel and is then called in the sender's own turn of
  the loop, with no queue between them; what bounds that consumer is its own outbound queue.
- Order is kept for each pair of sender and channel, ``send`` and ``group_send`` alike.
- ``RedisChannelLayer`` keeps no message for a process that is away (the stock core layer keeps them
  in Redis for ``expiry`` seconds). The sender is told: see ``Undeliverable``.
"""

from typing import TYPE_CHECKING, Any

from .exceptions import ChannelGone, Undeliverable
from .local import LocalChannelLayer

if TYPE_CHECKING:
    from .redis import RedisChannelLayer

__all__ = ["ChannelGone", "LocalChannelLayer", "RedisChannelLayer", "Undeliverable"]


def __getattr__(name: str) -> Any:
    """A site of one process needs neither redis-py nor msgpack."""
    if name == "RedisChannelLayer":
        from .redis import RedisChannelLayer

        return RedisChannelLayer
    raise AttributeError(name)
