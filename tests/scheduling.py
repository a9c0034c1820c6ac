"""How pytest-xdist shares the tests among its processes: ``pytest -n 3``.

A file is never divided, so what its tests share is started once. The tests with real media are one
unit: they share one Chromium and one Janus, and they never run at the same time, because encoding
video takes a processor. Most other tests of real servers wait most of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

MEDIA = ("tests/browser/", "tests/integration/sfu/", "tests/integration/test_aiortc.py")


def unit_of(nodeid: str) -> str:
    """Return the name of what is run by one process: "media", or the path of a file."""
    path = nodeid.partition("::")[0]
    return "media" if path.startswith(MEDIA) else path


def sort_key(item: pytest.Item) -> tuple[bool, bool, str]:
    """Put the media tests first and the unit tests last: the longest unit must begin first."""
    unit = unit_of(item.nodeid)
    return (
        unit != "media",
        not unit.startswith("tests/integration/"),
        item.nodeid.partition("::")[0],
    )


def make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Return xdist's scheduler of whole files, with the units of this module and their order."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)
