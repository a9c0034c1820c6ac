"""How pytest-xdist shares the tests among its processes: ``pytest -n 3``.

A file is never divided, so what its tests share is started once. Tests with real media need most of
a processor: those in Chromium, and those with Janus that measure media, are one unit, so they never
run at the same time. They share one browser and one Janus. The tests of faults and the attacks of
``tests/hostile`` put servers under load, so they are one unit too. The remaining tests mostly wait,
also those with Janus that stop it or lose a worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

UNITS = {
    "tests/browser/": "media",
    "tests/integration/sfu/backend/test_recovery.py": "sfu",
    "tests/integration/sfu/test_liars.py": "sfu",
    "tests/integration/sfu/test_outages.py": "sfu",
    "tests/integration/sfu/test_wire.py": "sfu",
    "tests/integration/sfu/test_worker_loss.py": "sfu",
    "tests/integration/sfu/": "media",
    "tests/integration/test_aiortc.py": "media",
    # Chromium aborts its requests when a network interface appears, as it does in this file.
    "tests/integration/faults/test_cut_link.py": "media",
    "tests/integration/faults/test_soak.py": "soak",
    "tests/integration/faults/": "faults",
    "tests/hostile/": "faults",
}
WITH_SERVERS = ("tests/browser/", "tests/hostile/", "tests/integration/")
TRACED = (
    "tests/integration/sfu/backend/",
    "tests/integration/test_bad_frames.py",
    "tests/integration/test_cleanup.py",
    "tests/integration/test_core_events.py",
    "tests/integration/test_framing.py",
    "tests/integration/test_identity.py",
    "tests/integration/test_relay.py",
)
"""The tests ``WITH_SERVERS`` that record their coverage, which doubles what servers compute."""
UNTRACED = ("tests/faults/", "tests/model/", "tests/test_javascript")
"""Tests that need no app, and the model, which runs the same few functions many thousand times."""
ORDER = ["media", "faults", "soak", "sfu", "tests/integration/", "tests/"]


def is_traced(nodeid: str) -> bool:
    """Return whether a test and its servers record their coverage."""
    return not nodeid.startswith((*WITH_SERVERS, *UNTRACED)) or nodeid.startswith(TRACED)


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
