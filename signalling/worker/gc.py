"""When the processes that serve nothing but this application look for reference cycles."""

from __future__ import annotations

import gc

THRESHOLDS = (50_000, 20, 1_000)  # Python's own are (700, 10, 10)
CLOSED_SOCKETS = 500


class Cycles:
    """Looks for cycles by the sockets that have closed, once it ``is_rare``; else Python does as ever.

    A full collection reads every object of every socket: 150 ms at 3,000 sockets, in which nothing is
    relayed (docs/performance.md has the figures). The relay path leaves no cycles; what a closed socket
    leaves is old by then, and found by full collections alone. So there is one for as many sockets
    closed as are open, and for 500 at least; what was there before the first socket is not read.
    """

    def __init__(self) -> None:
        self.is_rare = False
        self._closed = 0
        self._is_settled = False

    def collect_rarely(self) -> None:
        """For the two runners, not for other people's processes."""
        self.is_rare = True
        gc.set_threshold(*THRESHOLDS)

    def socket_opened(self) -> None:
        if self.is_rare and not self._is_settled:
            self._is_settled = True
            gc.collect()
            gc.freeze()

    def socket_closed(self, open_sockets: int) -> None:
        self._closed += 1
        if self.is_rare and self._closed >= max(CLOSED_SOCKETS, open_sockets):
            self._closed = 0
            gc.collect()


cycles = Cycles()
