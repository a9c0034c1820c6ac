from __future__ import annotations

import pytest
from pytest_django import Settings

from rooms import codes
from rooms.conf import RoomSettings, conf, hook


def test_defaults_apply_without_the_setting(settings: Settings) -> None:
    settings.SIGNALLING = {}  # clears the cache, which ``del`` does not do
    del settings.SIGNALLING
    assert conf() == RoomSettings()
    assert (conf().p2p_limit, conf().total_limit) == (10, 50)


def test_keys_are_in_upper_case(settings: Settings) -> None:
    settings.SIGNALLING = {"P2P_LIMIT": 4, "MAKE_CODE": "tests.rooms.hooks.tea"}
    assert conf() == RoomSettings(p2p_limit=4, make_code="tests.rooms.hooks.tea")


def test_keys_of_the_other_app_are_ignored(settings: Settings) -> None:
    settings.SIGNALLING = {"FRAME_BYTES": 1, "TOTAL_LIMIT": 20}
    assert conf() == RoomSettings(total_limit=20)


def test_a_changed_setting_is_reloaded(settings: Settings) -> None:
    settings.SIGNALLING = {"P2P_LIMIT": 4}
    assert conf().p2p_limit == 4
    settings.SIGNALLING = {"P2P_LIMIT": 5}
    assert conf().p2p_limit == 5


def test_changes_of_other_settings_do_not_reload(settings: Settings) -> None:
    before = conf()
    settings.LANGUAGE_CODE = "de"
    assert conf() is before


def test_settings_are_immutable() -> None:
    with pytest.raises(AttributeError):
        conf().p2p_limit = 3  # type: ignore[misc]


def test_a_hook_is_imported_by_its_path() -> None:
    assert hook("rooms.codes.generate") is codes.generate


def test_importing_a_missing_hook_fails() -> None:
    with pytest.raises(ImportError):
        hook("rooms.codes.nothing")
