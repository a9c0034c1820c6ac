"""A roster converges, whatever is lost or reordered, and its client sees each change once."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

from rooms.models import Participant, Room
from rooms.reconciling import Roster
from signalling.peers import messages
from signalling.peers.messages import RosterChange
from signalling.worker.reconciler import Mark
from tests.signalling.peers.test_refresh import peer
from tests.signalling.peers.test_room_events import EPOCH, Parts

UNTIL = datetime(2030, 1, 1, tzinfo=UTC)


class History:
    """A room in a database, a socket in it, and the announcements that are on their way."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.version = 1
        self.live: dict[str, Participant] = {}
        self.travelling: list[RosterChange] = []
        self.joined_as = 10
        for _ in range(self.random.randrange(4)):
            self.change()
        self.travelling = self.random.sample(
            self.travelling, self.random.randrange(len(self.travelling) + 1)
        )  # late ones, which arrive after the socket's own join
        self.version += 1
        self.joined_as += 1
        self.parts = Parts()
        mine = self.parts.membership
        mine.is_seated, mine.number = True, self.joined_as
        mine.roster = {peer_id: row.channel_name for peer_id, row in self.live.items()}
        mine.epochs = {peer_id: row.epoch for peer_id, row in self.live.items() if row.epoch}
        mine.away = {peer_id for peer_id, row in self.live.items() if row.away_until}
        mine.settle(self.version)
        self.at_first = set(mine.roster)

    def change(self) -> None:
        """Commit a change; its announcement may get lost."""
        self.version += 1
        row = self.random.choice([None, *self.live.values()])
        if row is None:
            self.joined_as += 1
            row = peer(f"peer_{self.joined_as}", pk=self.joined_as)
            self.live[row.peer_id] = row
            message = messages.joined("ABC123", row, self.version)
        elif self.random.random() < 0.4:
            del self.live[row.peer_id]
            message = messages.left("ABC123", row.peer_id, "left", self.version)
        elif row.away_until is None:
            row.away_until = UNTIL
            message = messages.away("ABC123", row.peer_id, row.channel_name, UNTIL, self.version)
        else:
            row.epoch, row.away_until = row.epoch + 1, None
            row.channel_name = f"channel!{row.peer_id}-{row.epoch}"
            message = messages.back("ABC123", row, self.version)
        if self.random.random() < 0.8:
            self.travelling.append(message)

    def deliver(self) -> None:
        """Deliver any of the announcements, perhaps twice."""
        if self.travelling:
            message = self.random.choice(self.travelling)
            if self.random.random() < 0.9:
                self.travelling.remove(message)
            self.parts.room.deliver(dict(message))

    def step(self) -> None:
        self.random.choice([self.change, self.deliver])()

    def read(self) -> bool:
        """Read the roster, while other things happen before and after the statement."""
        mark = Mark.of(self.parts.membership)
        for _ in range(self.random.randrange(3)):
            self.step()
        me = peer("peer_me", epoch=EPOCH, pk=1)
        copies = [
            Participant(
                pk=row.pk,
                peer_id=row.peer_id,
                channel_name=row.channel_name,
                epoch=row.epoch,
                away_until=row.away_until,
                room=row.room,
                user=row.user,
            )
            for row in self.live.values()
        ]
        roster = Roster(Room(code="ABC123", roster_version=self.version), [me, *copies])
        for _ in range(self.random.randrange(4)):
            self.step()
        return self.parts.room.refresh(roster, mark)

    def settle(self) -> None:
        """Deliver nothing more; read until the roster agrees, as a heartbeat would."""
        self.random.random = lambda: 0.0  # type: ignore[method-assign]  # no duplicates
        mine = self.parts.membership
        while self.travelling:
            self.deliver()
        mark = Mark.of(mine)
        me = peer("peer_me", epoch=EPOCH, pk=1)
        roster = Roster(Room(code="ABC123", roster_version=self.version), [me, *self.live.values()])
        if mine.versions.complete < self.version:
            assert self.parts.room.refresh(roster, mark)


HISTORIES = range(200)
"""Seeds. All of the first 10,000 have been tried."""


def test_every_history_converges_and_is_seen_once() -> None:
    for seed in HISTORIES:
        history = History(seed)
        for _ in range(30):
            history.random.choice([history.step, history.step, history.read])()
        history.settle()
        mine = history.parts.membership
        assert mine.roster == {
            peer_id: row.channel_name for peer_id, row in history.live.items()
        }, seed
        assert mine.away == {p for p, row in history.live.items() if row.away_until}, seed
        assert mine.versions.complete == history.version, seed
        assert mine.departed == {}, seed
        seen, known, gone = set(history.at_first), set(history.at_first), set()
        for frame in map(json.loads, history.parts.written):
            peer_id = frame["data"]["peerId"]
            match frame["event"]:
                case "peer:joined":
                    assert peer_id not in seen, seed
                    seen.add(peer_id)
                    known.add(peer_id)
                case "peer:left":
                    assert peer_id in known, seed
                    known.remove(peer_id)
                    gone.add(peer_id)
                case _:
                    assert peer_id in known, seed
        assert known == history.live.keys(), seed
