"""Which changes of a room's roster a socket has seen."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_AHEAD = 1000
"""Changes after a gap that are remembered. A read of the roster closes the gap anyway."""


@dataclass
class SeenVersions:
    """The versions of a room's roster whose changes a socket has seen.

    Each change has the next version. They arrive in almost any order, because every worker
    announces its own; but each has been seen, or is missing.
    """

    complete: int = 0
    """All changes up to this version have been seen."""
    latest: int = 0
    """The highest version that is known to exist."""
    _ahead: set[int] = field(default_factory=set)
    """Versions after ``complete`` that have been seen, with a gap before them."""

    def __contains__(self, version: int) -> bool:
        return version <= self.complete or version in self._ahead

    @property
    def has_gap(self) -> bool:
        return self.latest > self.complete

    def add(self, version: int) -> None:
        """Note that the change with this version has been seen."""
        self.miss(version)
        if version > self.complete and len(self._ahead) < MAX_AHEAD:
            self._ahead.add(version)
            self._close_gap()

    def miss(self, version: int) -> None:
        """Note that there is a change with this version, which has not been seen."""
        self.latest = max(self.latest, version)

    def settle(self, version: int) -> None:
        """Note that a read of the roster contained all changes up to this version."""
        self.miss(version)
        self.complete = max(self.complete, version)
        self._ahead = {later for later in self._ahead if later > self.complete}
        self._close_gap()

    def restart(self, version: int) -> None:
        """Begin again at an earlier version: the database has lost its latest changes."""
        self.complete = self.latest = version
        self._ahead.clear()

    def _close_gap(self) -> None:
        while self.complete + 1 in self._ahead:
            self.complete += 1
            self._ahead.remove(self.complete)
