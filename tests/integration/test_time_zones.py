"""``USE_TZ = False`` on PostgreSQL; see ``tests/rooms/test_time_zones.py`` for SQLite."""

from __future__ import annotations

import pytest
from pytest_django import DjangoDbBlocker, Settings

from tests.conftest import Enter
from tests.integration.database import default_database
from tests.integration.stores import PostgreSQL
from tests.rooms.time_zones import ZONES, check_all_times, use_zone


@pytest.mark.parametrize("zone", ZONES)
def test_all_times_are_right_in_any_zone(
    postgresql: PostgreSQL,
    empty_postgresql: str,
    django_db_blocker: DjangoDbBlocker,
    settings: Settings,
    enter: Enter,
    zone: str | None,
) -> None:
    use_zone(settings, zone)
    url = postgresql.create(f"zone-{zone}".replace("/", "-"), empty_postgresql)
    with django_db_blocker.unblock(), default_database(url):
        check_all_times(enter)
