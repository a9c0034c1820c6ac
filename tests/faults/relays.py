"""An account of each relay: delivered once and in order, or reported."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from .records import Answered, Received, Sent

Report = Callable[[str, str], None]
"""Called with the rule that was violated and how."""

NOT_DELIVERED = {"peer_not_found", "peer_busy", "not_in_room", "rate_limited", "bad_request"}
"""Refusals that mean that the relay was not delivered. ``unavailable`` leaves it open."""

Pair = tuple[str, str]
"""The peer ids of a sender and a receiver."""


class Ledger:
    """Accounts for relays between peers. ``report`` is called for each violation."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._sent: dict[int, Sent] = {}
        self._late: set[int] = set()
        """Relays of sockets that had a successor: nothing is promised about them."""
        self._delivered: set[int] = set()
        self._refused: dict[int, str] = {}
        self._due: dict[Pair, set[int]] = defaultdict(set)
        """Relays that were acknowledged and have not arrived."""
        self._reported: Counter[Pair] = Counter()
        self._latest: dict[tuple[str, int, str], Sent] = {}
        """The last relay that arrived, by receiver, its socket, and sender."""
        self._gaps: dict[str, float] = {}
        self._ended: set[str] = set()

    def sent(self, record: Sent, *, is_late: bool = False) -> None:
        """``is_late``: by a socket whose client had resumed on another one already."""
        self._sent[record.number] = record
        if is_late:
            self._late.add(record.number)

    def answered(self, record: Answered) -> None:
        relay = self._sent[record.number]
        if record.code:
            self._refused[record.number] = record.code
            self._check_refusal(relay)
        elif record.number not in self._delivered and not self._is_excused(relay):
            self._due[relay.peer, relay.target].add(record.number)

    def received(self, record: Received) -> None:
        relay = self._sent.get(record.number)
        if relay is None or (relay.peer, relay.target) != (record.sender, record.peer):
            self._report("stranger", f"{record.peer} got {record} which is {relay}")
            return
        if record.number in self._delivered:
            self._report("twice", f"{record.peer} got relay {record.number} twice")
        self._delivered.add(record.number)
        self._due[relay.peer, relay.target].discard(record.number)
        self._check_refusal(relay)
        self._check_order(record, relay)

    def _check_refusal(self, relay: Sent) -> None:
        code = self._refused.get(relay.number)
        if code in NOT_DELIVERED and relay.number in self._delivered:
            self._report("twice", f"{relay} was refused with {code}, and delivered")

    def _check_order(self, record: Received, relay: Sent) -> None:
        key = record.peer, record.socket, record.sender
        latest = self._latest.get(key)
        if latest is not None and relay.socket < latest.socket:
            self._report("stale", f"{record.peer} got {relay} of an older socket after {latest}")
        elif latest is not None and relay.number < latest.number and not self._is_late(latest):
            self._report("order", f"{record.peer} got {relay} after {latest}")
        else:
            self._latest[key] = relay

    def _is_late(self, relay: Sent) -> bool:
        return relay.number in self._late

    def reported(self, sender: str, target: str) -> None:
        self._reported[sender, target] += 1

    # --- Excuses ------------------------------------------------------------------------------

    def gap(self, peer: str, at: float) -> None:
        """The peer was notified of a gap: frames to it may be lost, also reports of losses."""
        self._gaps[peer] = at
        self._excuse(peer)

    def end(self, peer: str) -> None:
        """The membership is over: nothing can be delivered to the peer, or reported to it."""
        self._ended.add(peer)
        self._excuse(peer)

    def _excuse(self, peer: str) -> None:
        for pair in [pair for pair in self._due if peer in pair]:
            del self._due[pair]

    def _is_excused(self, relay: Sent) -> bool:
        peers = relay.peer, relay.target
        return (
            self._is_late(relay)
            or any(peer in self._ended for peer in peers)
            or any(relay.at <= self._gaps.get(peer, -1.0) for peer in peers)
        )

    # --- The balance --------------------------------------------------------------------------

    def losses(self, connected: set[str]) -> Iterator[tuple[Pair, set[int]]]:
        """Yield the relays between ``connected`` peers that neither arrived nor were reported."""
        for pair, numbers in self._due.items():
            if connected.issuperset(pair) and len(numbers) > self._reported[pair]:
                yield pair, numbers

    def close_account(self, connected: set[str], live: set[str]) -> None:
        """Forget what is due between connected peers, and to peers that are no longer live."""
        for pair in list(self._due):
            if connected.issuperset(pair) or not live.issuperset(pair):
                del self._due[pair]
                self._reported.pop(pair, None)
