"""The rates that the sockets of a process share. ``test_sockets.py`` has the rest."""

from __future__ import annotations

import itertools

import pytest
from pytest_django import Settings

from signalling.conf import SignallingSettings
from signalling.protocol import ProtocolError
from signalling.throttling.rates import Rates, get_rates


def count_burst(rates: Rates, scope: str) -> int:
    """Return the number of events until one is refused."""
    for number in itertools.count():
        try:
            rates.take("join", 1, **{scope: "x"})
        except ProtocolError:
            return number
    raise AssertionError


@pytest.mark.parametrize("scope", ["room", "user"])
def test_rates_grow_by_fractions(scope: str) -> None:
    limits = {"join": {scope: [0.001, 6]}}
    grown = SignallingSettings(total_limit=75, seats_per_user=4, rate_limits=limits)
    assert count_burst(Rates(grown), scope) == {"room": 9, "user": 8}[scope]
    small = SignallingSettings(total_limit=10, seats_per_user=1, rate_limits=limits)
    assert count_burst(Rates(small), scope) == 6


def test_nothing_is_given_back_to_keys_without_a_rate_or_not_known_yet() -> None:
    rates = Rates(SignallingSettings(rate_limits={"join": {"room": [1, 2]}}))
    with pytest.raises(LookupError), rates.taking("join", user="1", room=None):
        raise LookupError
    assert len(rates._tables["join"]["room"]) == 0


async def test_the_rates_are_shared_until_their_settings_change(settings: Settings) -> None:
    rates = get_rates()
    settings.LANGUAGE_CODE = "de"
    assert get_rates() is rates
    settings.SIGNALLING = {"FRAME_RATE": 7.0}
    assert get_rates().frames.rate == 7.0


def test_a_refused_or_failed_event_leaves_the_rates_as_they_were() -> None:
    rates = Rates(
        SignallingSettings(rate_limits={"join": {"user": [0.001, 3], "room": [0.001, 1]}})
    )
    rates.take("join", 1, user="x")
    with pytest.raises(LookupError), rates.taking("join", user="x"):
        raise LookupError
    rates.take("join", 1, room="TEA")
    for _ in range(3):
        with pytest.raises(ProtocolError):
            rates.take("join", 1, user="x", room="TEA")
    assert count_burst(rates, "user") == 2
