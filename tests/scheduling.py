"""How pytest-xdist shares the tests among its processes: ``pytest -n 2``.

A file is never divided, so what its tests share is started once. All tests in Chromium are one unit
and share one browser; all tests of SFUs with real media are another and share one Janus. Both need
most of a processor, so the order keeps them apart: while one process runs the tests in Chromium, the
other runs tests that mostly wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

UNITS = {
    "tests/browser/": "browser",
    "tests/integration/faults/test_cut_link.py": "browser",  # it changes the network of Chromium
    "tests/integration/sfu/": "sfu",
    "tests/integration/test_aiortc.py": "sfu",
}
ORDER = [
    "browser",
    "tests/integration/faults/test_clients.py",
    "tests/integration/faults/test_stores.py",
    "tests/integration/faults/test_workers.py",
    "tests/integration/test_redis_faults.py",
    "tests/integration/test_stock_layers.py",
    "sfu",
    "tests/integration/",
    "tests/",
]


def unit_of(nodeid: str) -> str:
    """Return the name of what one process runs: one of ``UNITS``, or the path of a file."""
    path = nodeid.partition("::")[0]
    return next((unit for prefix, unit in UNITS.items() if path.startswith(prefix)), path)


def sort_key(item: pytest.Item) -> tuple[int, str]:
    """Keep the tests of a unit together, in their order, and put the units into ``ORDER``."""
    unit = unit_of(item.nodeid)
    return next(n for n, prefix in enumerate(ORDER) if unit.startswith(prefix)), unit


def make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Return xdist's scheduler of whole files, with the units of this module and their order."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)
