"""When the servers of ``signalling.servers`` run the cyclic garbage collector."""

from __future__ import annotations

import atexit
import gc

THRESHOLDS = (50_000, 20, 1_000)  # Python's defaults are (700, 10, 10)
CLOSED_SOCKETS = 500


class Cycles:
    """Runs full collections by the number of closed sockets, after ``collect_rarely``.

    A full collection visits every object of every socket: at 3,000 sockets it blocks relays for 150
    ms (docs/performance.md has the figures). Relays create no cycles. A closed socket does, but its
    objects are old by then, so only a full collection finds them. Therefore one runs each time that
    as many sockets have closed as are open, at least 500. Objects from before the first socket are
    excluded (``gc.freeze``).
    """

    def __init__(self) -> None:
        self.is_rare = False
        self._closed = 0
        self._is_frozen = False

    def collect_rarely(self) -> None:
        """Change the thresholds of this process, and let it end without a collection.

        For our servers only: other processes keep theirs. At its end Python visits every object to
        find cycles, which takes 0.1 s to 0.2 s and frees what the kernel frees anyway.
        """
        self.is_rare = True
        gc.set_threshold(*THRESHOLDS)
        atexit.register(gc.freeze)

    def socket_opened(self) -> None:
        """Exclude the objects that exist now from collections, at the first socket."""
        if self.is_rare and not self._is_frozen:
            self._is_frozen = True
            gc.collect()
            gc.freeze()

    def socket_closed(self, open_sockets: int) -> None:
        """Count a closed socket, and collect if there were enough of them."""
        self._closed += 1
        if self.is_rare and self._closed >= max(CLOSED_SOCKETS, open_sockets):
            self._closed = 0
            gc.collect()


cycles = Cycles()
