from __future__ import annotations

from pytest_django import Settings

from signalling.conf import SignallingSettings, conf
from signalling.protocol import FrameLimits


def test_the_defaults_are_those_of_the_protocol(settings: Settings) -> None:
    settings.SIGNALLING = {}
    defaults = conf()
    assert defaults == SignallingSettings()
    assert (defaults.frame_bytes, defaults.sdp_bytes, defaults.candidate_bytes) == (
        65_536,
        49_152,
        4096,
    )
    assert (defaults.frame_burst, defaults.frame_rate, defaults.offer_rate) == (400, 100, 20)
    assert (defaults.failure_limit, defaults.failure_window) == (10, 30 * 60)
    assert (defaults.authentication_timeout, defaults.heartbeat_timeout) == (5, 45)
    assert defaults.frame_limits == FrameLimits()


def test_keys_of_both_apps_are_in_one_dict(settings: Settings) -> None:
    settings.SIGNALLING = {"P2P_LIMIT": 4, "FRAME_BYTES": 100, "JSON_DEPTH": 3}
    assert (conf().p2p_limit, conf().frame_bytes) == (4, 100)
    assert conf().frame_limits == FrameLimits(frame=100, depth=3)


def test_default_lists_are_not_shared() -> None:
    assert SignallingSettings().allowed_origins is not SignallingSettings().allowed_origins
