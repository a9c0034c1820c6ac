"""Rates that all sockets of a process share: by class of events, and by user, room and address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.core.signals import setting_changed

from signalling.conf import RATE_LIMITS, SignallingSettings, conf
from signalling.protocol.errors import rate_limited
from signalling.transport.loops import PerLoop

from .buckets import TokenBucket

KEYS = 10_000
"""The most keys of one table."""
ROOM_SIZE = 50
"""The rates of rooms are for rooms of this size. They grow with ``TOTAL_LIMIT``."""
USER_SEATS = 3
"""The rates of users are for this many seats in a room. They grow with ``SEATS_PER_USER``."""


class SharedBuckets:
    """A token bucket for each key, such as a user. The key used least recently is dropped first."""

    def __init__(self, rate: float, burst: float, size: int = KEYS) -> None:
        self.rate = rate
        self.burst = burst
        self._size = size
        self._buckets: OrderedDict[object, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def __getitem__(self, key: object) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self.rate, self.burst)
            if len(self._buckets) > self._size:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket


class Rates:
    """The shared rates of one event loop. ``RATE_LIMITS`` in docs/settings.md has the classes."""

    def __init__(self, settings: SignallingSettings) -> None:
        self._tables: dict[str, dict[str, SharedBuckets]] = {
            cost: {
                scope: SharedBuckets(*_scaled(limits, scope, settings))
                for scope, limits in scopes.items()
            }
            for cost, scopes in {**RATE_LIMITS, **settings.rate_limits}.items()
        }
        frames = settings.frame_rate, settings.frame_burst
        size = settings.byte_rate, settings.byte_burst
        self.frames = SharedBuckets(*_scaled(frames, "user", settings))
        self.bytes = SharedBuckets(*_scaled(size, "user", settings))
        """Frames and bytes by user and room: the sockets of a user in a room share them."""

    def take(self, cost: str, count: float, **keys: str | None) -> None:
        """Take ``count`` events of a class from each of the ``keys``: ``user``, ``room``, ``address``.

        Raises ``rate_limited``, and takes nothing, if one of them is over its rate. A key of
        ``None`` is not known yet.
        """
        taken: list[TokenBucket] = []
        tables = self._tables.get(cost, {})
        for scope, key in keys.items():
            if key is None or scope not in tables:
                continue
            bucket = tables[scope][key]
            wait = bucket.take(count)
            if wait:
                for earlier in taken:
                    earlier.give_back(count)
                raise rate_limited(wait, f"events of the class {cost!r} from this {scope}")
            taken.append(bucket)

    @contextmanager
    def taking(self, cost: str, **keys: str | None) -> Iterator[None]:
        """``take``, and give it back if the block raises: it had no effect on others."""
        self.take(cost, 1, **keys)
        try:
            yield
        except BaseException:
            for scope, key in keys.items():
                table = self._tables.get(cost, {}).get(scope)
                if table is not None and key is not None:
                    table[key].give_back(1)
            raise


def _scaled(
    limits: Sequence[float], scope: str, settings: SignallingSettings
) -> tuple[float, float]:
    """Return rate and burst; those of a room for its size, those of a user for its seats."""
    sizes = {
        "room": settings.total_limit / ROOM_SIZE,
        "user": settings.seats_per_user / USER_SEATS,
    }
    factor = max(1.0, sizes.get(scope, 1.0))
    rate, burst = limits
    return rate * factor, burst * factor


_rates = PerLoop(lambda: Rates(conf()))


def get_rates() -> Rates:
    """Return the rates of the running event loop."""
    return _rates.get()


def _reset(*, setting: str, **kwargs: object) -> None:
    if setting == "SIGNALLING":
        _rates.clear()


setting_changed.connect(_reset)
