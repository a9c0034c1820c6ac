"""Which messages of the channel layer are those of another build."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from signalling import metrics
from signalling.peers import foreign
from tests.signalling.peers.test_detached_links import mode_changed

RELAYED = {
    "type": "signalling.relay",
    "target": "peer_me",
    "sender": "peer_other",
    "number": 1,
    "reply_channel": "",
    "frame": "{}",
}
MODE = mode_changed()
HANDOVER = {
    "type": "signalling.handover",
    "peer_id": "peer_me",
    "frames": [],
    "sent": {},
    "received": {},
    "gap": False,
}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counts: Counter[str] = Counter()
    monkeypatch.setattr(metrics.ignored, "counts", counts)
    return counts


@pytest.mark.parametrize("message", [RELAYED, MODE, HANDOVER])
def test_every_required_field_must_have_its_type(message: Any, counts: Counter[str]) -> None:
    assert not foreign.ignore_malformed(message)
    assert not counts
    for name, value in message.items():
        without = {other: value for other, value in message.items() if other != name}
        assert foreign.ignore_malformed(without)
        wrong = 5 if isinstance(value, str) else "five"
        assert name == "type" or foreign.ignore_malformed({**message, name: wrong})
    assert counts == {"malformed": 2 * len(message) - 1}


def test_optional_and_later_fields_may_be_missing_or_present(counts: Counter[str]) -> None:
    for message in (RELAYED, {**RELAYED, "user": "2"}, {**RELAYED, "hops": 3}):
        assert not foreign.ignore_malformed(message)
    assert not counts


def test_an_unknown_type_is_counted_apart_from_a_malformed_one(counts: Counter[str]) -> None:
    foreign.ignore_unknown({"type": "signalling.relay.2"})
    assert counts == {"unknown_type": 1}
    for message in ({}, {"type": 5}, {"type": ["signalling.relay"]}):
        foreign.ignore_unknown(message)
    assert counts == {"unknown_type": 1, "malformed": 3}
