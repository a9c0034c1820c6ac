"""Payloads that no process of this build publishes: forged, damaged, or of another build."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signalling.layers import drops, subscriber
from signalling.layers.connections import ALL
from signalling.layers.namespaces import VERSION, Namespace, Refused
from signalling.layers.subscriber import MAX_AGE_SECONDS, MAX_REPORTS, Subscriber, Undelivered
from tests.effort import effort

ME = "0123456789ab"
OTHER = "ba9876543210"
SITE = Namespace("tea", ["one"])


class Recorder:
    """Records what a subscriber delivers, and what it reports to other processes."""

    def __init__(self) -> None:
        self.delivered: list[Any] = []
        self.missed: list[str] = []
        self.reports: list[Any] = []
        self.lost: list[Any] = []
        self.refused: list[Any] = []

    def deliver(self, channel: str, message: dict[str, Any]) -> Undelivered | None:
        if channel == "foreign":
            raise Refused("malformed", "a channel of another process")
        if channel == "broken":
            raise RuntimeError("a bug")
        self.delivered.append(message)
        return "full" if channel == "full" else None

    def deliver_group(self, group: str, message: dict[str, Any]) -> None:
        self.delivered.append(message)

    def message_lost(self, sender: str, channel: str) -> None:
        self.lost.append((sender, channel))

    def message_refused(self, sender: str, channel: str) -> None:
        self.refused.append((sender, channel))

    def messages_missed(self, source: str) -> None:
        self.missed.append(source)

    def report_lost(self, target: str, first: int, last: int) -> None:
        self.lost.append((target, first, last))

    async def send(self, target: str, item: bytes) -> None:
        self.reports.append((target, *msgpack.unpackb(item)))


class Bus:
    """A subscriber without a Redis, and what it has received."""

    def __init__(self, *namespaces: Namespace) -> None:
        self.recorder = Recorder()
        self.namespaces = namespaces or (SITE,)
        self.subscriber = Subscriber(
            {},
            process_id=ME,
            namespaces=self.namespaces,
            timeout=1.0,
            receiver=self.recorder,
            publisher_for=lambda target: self.recorder,  # type: ignore[arg-type,return-value]
        )

    def receive(self, payload: bytes, target: str = ME) -> None:
        self.subscriber.receive(self.namespaces[0].channel(target).encode(), payload)

    def batch(self, *items: Any, number: Any = 1, head: Any = None, target: str = ME) -> bytes:
        """Return a batch as another process seals it."""
        head = head or [OTHER, number, int(time.time())]
        body = b"".join(msgpack.packb(part) for part in (head, *items))
        return self.namespaces[0].seal(self.namespaces[0].channel(target), body)


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    bus = Bus()
    yield bus
    await bus.subscriber.close()


@pytest.fixture(autouse=True)
def dropped(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    fresh = drops.Drops(logging.getLogger("signalling.pubsub"))
    monkeypatch.setattr(drops, "bus", fresh)
    return fresh.counts


def channel(value: int, name: str = "mine") -> list[Any]:
    return ["channel", name, {"type": "number", "value": value}]


NUMBER = {"type": "number", "value": 1}


async def test_missing_batches_are_reported_to_their_process(bus: Bus) -> None:
    bus.receive(bus.batch(channel(1), number=4))
    bus.receive(bus.batch(number=70, target=ALL), target=ALL)  # published before we subscribed
    await asyncio.sleep(0)
    assert bus.recorder.reports == [(OTHER, "lost", ME, 1, 3)]
    assert bus.recorder.missed == [OTHER]


async def test_messages_to_all_do_not_return_to_their_process(bus: Bus) -> None:
    head = [ME, 1, int(time.time())]
    bus.receive(bus.batch(["group", "room", NUMBER], head=head, target=ALL), target=ALL)
    assert bus.recorder.delivered == []


# --- Another build ----------------------------------------------------------------------------


async def test_what_a_later_build_has_added_is_ignored(bus: Bus, dropped: Counter[str]) -> None:
    head = [OTHER, 1, int(time.time()), "a field of the future"]
    later = [[*channel(1), {"priority": 3}], ["reactions", 1, 2], ["beat", "more"], channel(1)]
    bus.receive(bus.batch(*later, head=head))
    assert bus.recorder.delivered == [NUMBER, NUMBER]
    assert dropped == {"unknown_kind": 1}


async def test_another_version_is_ignored(bus: Bus, dropped: Counter[str]) -> None:
    bus.receive(bytes([VERSION + 1]) + bus.batch(channel(1))[1:])
    bus.receive(msgpack.packb([OTHER, False, 1]) + msgpack.packb(channel(1)))  # before versions
    bus.receive(bus.batch(channel(1)))
    assert bus.recorder.delivered == [NUMBER]
    assert dropped == {"version": 2}


# --- Forged and replayed payloads -------------------------------------------------------------


async def test_what_another_site_signed_is_dropped(bus: Bus, dropped: Counter[str]) -> None:
    for other in (Namespace("tea", ["two"]), Namespace("tea", [])):
        bus.receive(Bus(other).batch(channel(1)))
    assert bus.recorder.delivered == []
    assert dropped == {"signature": 2}


async def test_a_replay_is_dropped(bus: Bus, dropped: Counter[str]) -> None:
    first, second = bus.batch(channel(1)), bus.batch(channel(2), number=2)
    for payload in (first, second, first, second, second):
        bus.receive(payload)
    assert len(bus.recorder.delivered) == 2
    assert dropped == {"number": 3}


async def test_a_batch_for_another_process_cannot_be_replayed_here(
    bus: Bus, dropped: Counter[str]
) -> None:
    for target in (ALL, OTHER):
        bus.receive(bus.batch(channel(1), target=target))
    bus.receive(bus.batch(channel(1)), target=ALL)
    assert bus.recorder.delivered == []
    assert dropped == {"signature": 3}


@pytest.mark.parametrize("age", [MAX_AGE_SECONDS + 2, -MAX_AGE_SECONDS - 2])
async def test_an_old_batch_cannot_be_replayed_to_a_process_that_has_started_since(
    bus: Bus, dropped: Counter[str], age: int
) -> None:
    group = ["group", "room", NUMBER]
    then = int(time.time()) - age
    bus.receive(bus.batch(group, head=[OTHER, 8, then], target=ALL), target=ALL)
    assert (bus.recorder.delivered, dropped) == ([], {"stale": 1})
    bus.receive(bus.batch(group, number=70, target=ALL), target=ALL)
    assert bus.recorder.delivered == [NUMBER]
    assert bus.recorder.missed == []


async def test_a_copy_from_a_second_namespace_is_not_a_replay(dropped: Counter[str]) -> None:
    new, old = Namespace("new", ["two"]), Namespace("old", ["one"])
    bus = Bus(new, old)
    body = b"".join(map(msgpack.packb, ([OTHER, 1, int(time.time())], channel(1))))
    for site in (new, old):
        bus.subscriber.receive(site.channel(ME).encode(), site.seal(site.channel(ME), body))
    assert bus.recorder.delivered == [NUMBER]
    assert not dropped


async def test_a_forged_number_does_not_silence_a_process(
    bus: Bus, dropped: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without signatures anybody can forge one. The batches until then are reported as lost."""
    now = 1000.0
    clock = SimpleNamespace(time=time.time, monotonic=lambda: now)
    monkeypatch.setattr(subscriber, "time", clock)
    bus.receive(bus.batch(channel(1)))
    bus.receive(bus.batch(number=500))
    for number in (2, 3, 4, 5):
        bus.receive(bus.batch(channel(number), number=number))
        now += 2
    await asyncio.sleep(0)
    assert [message["value"] for message in bus.recorder.delivered] == [1, 4, 5]
    assert bus.recorder.reports[-1] == (OTHER, "lost", ME, 2, 3)
    assert dropped == {"number": 2}


# --- Malformed payloads -----------------------------------------------------------------------

HEADS: list[Any] = [
    [],
    [OTHER],
    [OTHER, 1],
    [OTHER, "1", 1],
    [OTHER, 1.5, 1],
    [OTHER, None, 1],
    [OTHER, 0, 1],
    [OTHER, -1, 1],
    [7, 1, 1],
    ["", 1, 1],
    ["x" * 65, 1, 1],
    [ALL, 1, 1],
    {"source": OTHER},
    "text",
    1,
]


@pytest.mark.parametrize("head", HEADS, ids=str)
async def test_a_malformed_head_is_dropped(bus: Bus, dropped: Counter[str], head: Any) -> None:
    bus.receive(SITE.seal(SITE.channel(ME), msgpack.packb(head) + msgpack.packb(channel(1))))
    assert (bus.recorder.delivered, dropped) == ([], {"malformed": 1})


@pytest.mark.parametrize(
    "item",
    [
        1,
        [],
        [7],
        {},
        ["channel"],
        ["channel", 1, NUMBER],
        ["channel", "mine", "text"],
        ["channel", "foreign", NUMBER],
        ["group", "room"],
        ["gone", "a", 1],
        ["full", "a"],
        ["lost", "a", 1, None],
    ],
    ids=str,
)
async def test_a_malformed_message_costs_no_other_one(
    bus: Bus, dropped: Counter[str], item: Any
) -> None:
    bus.receive(bus.batch(item, channel(1)))
    assert (bus.recorder.delivered, dropped) == ([NUMBER], {"malformed": 1})


async def test_a_bug_of_a_receiver_costs_no_other_message(bus: Bus, dropped: Counter[str]) -> None:
    bus.receive(bus.batch(channel(1, "broken"), channel(1)))
    assert (bus.recorder.delivered, dropped) == ([NUMBER], {"failed": 1})


async def test_a_refused_message_is_reported_to_its_sender(bus: Bus) -> None:
    bus.receive(bus.batch(["channel", "full", {**NUMBER, "reply_channel": "theirs"}]))
    await asyncio.sleep(0)
    assert bus.recorder.reports == [(OTHER, "full", "theirs", "full")]
    bus.receive(bus.batch(["full", "mine", "theirs"], ["gone", "mine", "another"], number=2))
    assert bus.recorder.refused == [("mine", "theirs")]
    assert bus.recorder.lost == [("mine", "another")]


async def test_reports_are_bounded(bus: Bus, dropped: Counter[str]) -> None:
    message = {**NUMBER, "reply_channel": "theirs"}
    bus.receive(bus.batch(*[["channel", "full", message]] * (MAX_REPORTS + 50)))
    assert 0 < dropped["report"] <= 50
    await asyncio.sleep(0)
    assert len(bus.recorder.reports) == MAX_REPORTS + 50 - dropped["report"]


async def test_a_flood_is_logged_once(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(1000):
        bus.receive(b"\x01\x00garbage")
        bus.receive(b"garbage")
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
kinds = st.sampled_from(["channel", "group", "gone", "full", "lost", "beat", "other"])
items = values | st.tuples(kinds, values, values, values) | st.tuples(kinds, st.text(), values)


@settings(
    max_examples=effort(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    raw=st.binary(max_size=60),
    body=st.binary(max_size=60),
    head=values | st.tuples(st.text(), st.integers(0, 2**64 - 1), st.integers(0, 2**33)),
    items=st.lists(items, max_size=4),
)
def test_nothing_raises_out_of_the_subscriber(
    raw: bytes, body: bytes, head: Any, items: list[Any]
) -> None:
    async def receive() -> None:
        bus = Bus()
        for target in (ME, ALL):
            name = SITE.channel(target)
            packed = b"".join(msgpack.packb(part) for part in (head, *items))
            for payload in (raw, SITE.seal(name, body), SITE.seal(name, packed)):
                bus.receive(payload, target)
        await bus.subscriber.close()

    asyncio.run(receive())


async def test_a_suspended_process_reads_its_backlog_before_it_misses_heartbeats(bus: Bus) -> None:
    subscriber, now = bus.subscriber, time.monotonic()
    assert subscriber._silence(now + 2.0) == pytest.approx(2.0, abs=0.1)
    assert subscriber._silence(now + 9.0) == 0  # 7 s of it were a suspension
    assert subscriber._silence(now + 11.0) == 2.0
    assert subscriber._silence(now + 15.0) == 6.0  # a check that is a little late
    bus.receive(bus.batch(channel(1)))
    assert subscriber._silence(time.monotonic()) < 1.0
