"""``USE_TZ = False`` on SQLite; see ``tests/integration/test_time_zones.py`` for PostgreSQL."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tests.conftest import Enter
from tests.rooms.time_zones import ZONES, check_all_times, use_zone


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.django_db
def test_all_times_are_right_in_any_zone(
    settings: Settings, enter: Enter, zone: str | None
) -> None:
    use_zone(settings, zone)
    check_all_times(enter)
