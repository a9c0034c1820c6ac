"""The invariants hold in any order of joins, leaves, crashes, resumes, relays and a kill."""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from signalling.testing import RequestRefused, SignallingCommunicator
from tests.effort import effort
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.traffic import wait_until

T = TypeVar("T")
SEATS = 3
NAMES = st.sampled_from(["ann", "bob", "cyd", "dan", "eve"])
PLACES = st.sampled_from([0, 1])
PICKS = st.integers(0, 59)  # an index, modulo the number of choices


def picked(choices: list[T], pick: int) -> T:
    return choices[pick % len(choices)]


class Person:
    """The model's state of one peer, over all of its sockets."""

    def __init__(self, client: SignallingCommunicator, room: str, *, resumable: bool) -> None:
        self.client = client
        self.room = room
        self.worker = 0
        self.resumable = resumable
        self.is_away = False
        self.was_killed = False
        """The worker that had its socket or held its frames was killed."""
        self.peer_id = client.peer_id
        self.token = client.room.get("resumeToken", "")
        self.joined: list[str] = [peer["id"] for peer in client.room["peers"]]
        self.left: list[str] = []
        self.received: dict[str, list[int]] = defaultdict(list)
        self.due: dict[str, set[int]] = defaultdict(set)
        """The relays that must arrive, because they were acknowledged, by sender."""
        self.reported: set[str] = set()
        """The peers to which a relay was reported as lost."""

    def reads(self) -> None:
        """Process the unread frames. They do not include the answers to requests."""
        for frame in self.client.unread:
            event, data = frame["event"], frame.get("data", {})
            if event == "peer:joined":
                self.joined.append(data["peerId"])
            elif event == "peer:left":
                self.left.append(data["peerId"])
            elif event == "webrtc:ice":
                self.received[data["fromPeerId"]].append(int(data["candidate"]))
            elif event == "error" and "targetPeerId" in data:
                self.reported.add(data["targetPeerId"])
        self.client.clear()


class Machine(RuleBasedStateMachine):
    def __init__(self, site: Site, runner: asyncio.Runner) -> None:
        super().__init__()
        self.site = site
        self.run = runner.run
        self.rooms = [site.room(p2p_limit=SEATS) for _ in range(2)]
        self.people: dict[str, Person] = {}
        self.number = 0
        self.kills = 0

    # --- The rules --------------------------------------------------------------------------

    @rule(name=NAMES, room=PLACES, worker=PLACES, resumable=st.sampled_from([True, True, False]))
    def join(self, name: str, room: int, worker: int, resumable: bool) -> None:
        if name not in self.people:
            self.run(self._joins(name, self.rooms[room], worker, resumable=resumable))

    async def _joins(self, name: str, room: str, worker: int, *, resumable: bool) -> None:
        client = self.site.client(name, worker=worker)
        await client.connect()
        taken = sum(person.room == room for person in self.people.values())
        try:
            await client.join(room, resumable=resumable)
        except RequestRefused as refused:
            if (refused.code, taken) != ("room_full", SEATS):
                raise
            await client.close()
            return
        assert taken < SEATS
        person = self.people[name] = Person(client, room, resumable=resumable)
        person.worker = worker

    @precondition(lambda self: self._present())
    @rule(pick=PICKS)
    def leave(self, pick: int) -> None:
        name = picked(self._present(), pick)
        client = self.people[name].client
        self.run(client.leave())
        self.run(client.close())
        self._is_gone(name)

    @precondition(lambda self: self._present())
    @rule(pick=PICKS, relays=st.integers(0, 3))
    def crash(self, pick: int, relays: int) -> None:
        """Reset the socket of a peer. The others keep relaying to it."""
        name = picked(self._present(), pick)
        person = self.people[name]
        self.run(self._settle())
        self.run(person.client.reset())
        person.is_away = True
        if not person.resumable:
            self._is_gone(name)
        self.run(self._settle())
        for mate in [self.people[mate] for mate in self._present()]:
            for _ in range(relays if mate.room == person.room and person.resumable else 0):
                self.number += 1
                self.run(self._relays(mate, person, self.number))

    @precondition(lambda self: self._away())
    @rule(pick=PICKS, worker=PLACES)
    def resume(self, pick: int, worker: int) -> None:
        name = picked(self._away(), pick)
        self.run(self._resumes(name, self.people[name], worker))

    async def _resumes(self, name: str, person: Person, worker: int) -> None:
        again = self.site.client(name, worker=worker)
        await again.connect()
        room = await again.resume(person.room, person.token)
        assert room["peerId"] == person.peer_id
        person.client, person.worker, person.is_away = again, worker, False
        person.token = room["resumeToken"]
        present = {peer["id"] for peer in room["peers"]}
        # What happened in between is in the list, and is not announced again.
        known = set(person.joined) - set(person.left)
        person.joined += present - known
        person.left += known - present
        # A gap may be reported without a loss, but only a killed worker may have lost anything,
        # because relays under way are waited for before a socket is reset.
        if person.was_killed and room.get("gap"):
            person.due.clear()
            person.received.clear()
        person.was_killed = False

    @precondition(lambda self: self._present() and len(self.people) > 1)
    @rule(pick=PICKS, other=PICKS, count=st.integers(1, 4))
    def relays(self, pick: int, other: int, count: int) -> None:
        """Relay, usually within a room, to peers with and without a socket."""
        sender = self.people[picked(self._present(), pick)]
        others = [one for one in self.people.values() if one is not sender]
        mates = [one for one in others if one.room == sender.room]
        target = picked(mates or others if other % 5 else others, other)
        for _ in range(count):
            self.number += 1
            self.run(self._relays(sender, target, self.number))

    async def _relays(self, sender: Person, target: Person, number: int) -> None:
        data = {"targetPeerId": target.peer_id, "candidate": str(number)}
        try:
            await sender.client.request("webrtc:ice", data)
        except RequestRefused as refused:
            # In the same room: its worker was killed, or an announcement is still under way.
            expected = {"peer_not_found"} | (
                {"unavailable"} if sender.room == target.room else set()
            )
            if refused.code not in expected:
                raise
        else:
            assert sender.room == target.room
            target.due[sender.peer_id].add(number)

    @precondition(lambda self: self.kills < 1)
    @rule(worker=PLACES)
    def is_killed(self, worker: int) -> None:
        self.kills += 1
        process = self.site.workers[worker]
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name, person in list(self.people.items()):
            if person.worker == worker and not person.is_away:
                self.run(person.client.receive_close())
                person.is_away = True
            if person.worker == worker:
                person.was_killed = True
            if person.worker == worker and not person.resumable:
                self._is_gone(name)
        process.start()
        self.run(self._settle())

    def _present(self) -> list[str]:
        return [name for name, person in self.people.items() if not person.is_away]

    def _away(self) -> list[str]:
        return [name for name, person in self.people.items() if person.is_away]

    def _is_gone(self, name: str) -> None:
        former = self.people.pop(name)
        for person in self.people.values():
            person.due.pop(former.peer_id, None)

    # --- The invariants -----------------------------------------------------------------------

    async def _settle(self) -> None:
        for room in self.rooms:
            expected = {person.peer_id for person in self.people.values() if person.room == room}
            await wait_until(
                lambda room=room, expected=expected: (  # type: ignore[misc]
                    self.site.database.live_peers(room) == expected
                ),
                "live rows are live or away peers",
                within=15,
            )
        for person in self.people.values():
            if not person.is_away:
                await wait_until(lambda p=person: self._knows_all(p), "its roster", within=10)  # type: ignore[misc]
                await wait_until(lambda p=person: self._received_all(p), "its relays", within=10)  # type: ignore[misc]
                self._check(person)

    def _knows_all(self, person: Person) -> bool:
        person.reads()
        roster = set(person.joined) - set(person.left)
        return roster == {
            other.peer_id
            for other in self.people.values()
            if other.room == person.room and other is not person
        }

    def _received_all(self, person: Person) -> bool:
        person.reads()
        for other in self.people.values():
            other.reads()
            if person.peer_id in other.reported:
                person.due.pop(other.peer_id, None)
        return all(due <= set(person.received[sender]) for sender, due in person.due.items())

    def _check(self, person: Person) -> None:
        assert len(person.joined) == len(set(person.joined)), "each peer joined once"
        assert len(person.left) == len(set(person.left)), "each peer left at most once"
        assert set(person.received) <= set(person.joined), "relays stay in their room"
        for numbers in person.received.values():
            assert numbers == sorted(set(numbers)), "in order, and once"

    def teardown(self) -> None:
        self.run(self._settle())
        for person in self.people.values():
            if not person.is_away:
                self.run(person.client.close())
        super().teardown()


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    leases = {"LEASE_SECONDS": 3, "LEASE_RENEWAL": 1, "RESUME_WINDOW": 120}
    return make_site(
        engine="postgresql", redis=True, workers=2, server="uvicorn", signalling=leases
    )


@pytest.mark.timeout(180)
def test_invariants_hold_in_any_order_of_events(site: Site) -> None:
    checked = settings(
        max_examples=effort(6),
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],  # shrinking a failure would take many minutes
        suppress_health_check=list(HealthCheck),
    )
    with asyncio.Runner() as runner:
        machine: Any = partial(Machine, site, runner)
        run_state_machine_as_test(machine, settings=checked)
