"""What one peer receives: of whom, by which path, and which of two paths it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Literal

Path = Literal["mesh", "sfu"]
PATHS: tuple[Path, ...] = ("mesh", "sfu")

RECENT = 2.0  # seconds after which media that does not come any more has stopped


class Watching:
    """A frame is told to ``took`` when it has been decoded. Times are those of ``monotonic``.

    A peer is shown by one path: the preferred one, from the moment when all that comes by the other comes
    by it too.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.prefers: Path = "mesh"
        self._clock = clock
        self._frames: Counter[tuple[str, Path]] = Counter()
        self._first: dict[tuple[str, Path], float] = {}
        self._last: dict[tuple[str, Path], dict[str, float]] = {}
        self._shown: dict[str, Path] = {}
        self._heard: dict[str, float] = {}
        self._gaps: dict[str, float] = {}

    def took(self, peer_id: str, path: Path, kind: str) -> None:
        now = self._clock()
        key = peer_id, path
        self._last.setdefault(key, {})[kind] = now
        if kind == "video":
            self._frames[key] += 1
            self._first.setdefault(key, now)
        elif self.shown(peer_id) == path:
            before = self._heard.get(peer_id, now)
            self._gaps[peer_id] = max(self._gaps.get(peer_id, 0.0), now - before)
            self._heard[peer_id] = now

    def lost(self, peer_id: str, path: Path) -> None:
        """The connection that carried a peer is no more; what it has brought still counts."""
        self._last.pop((peer_id, path), None)

    def lost_all(self, path: Path) -> None:
        for peer_id, of in list(self._last):
            if of == path:
                self.lost(peer_id, path)

    def frames(self, of: str, path: Path) -> int:
        """Return how many pictures of a peer were decoded."""
        return self._frames[of, path]

    def first(self, of: str, path: Path) -> float | None:
        """Return when the first picture of a peer was decoded."""
        return self._first.get((of, path))

    def comes(self, peer_id: str, path: Path) -> bool:
        """Tell whether anything of a peer comes by a path now."""
        return bool(self._kinds(peer_id, path))

    def carries(self, peer_id: str, path: Path) -> bool:
        """Tell whether a path brings a peer, and nothing that the other one brings is missing."""
        kinds = self._kinds(peer_id, path)
        return bool(kinds) and kinds >= self._kinds(peer_id, _other(path))

    def shown(self, peer_id: str) -> Path | None:
        """Return the path by which a peer is shown, None where nothing of it comes."""
        before, best = self._shown.get(peer_id), self.prefers
        if before is None or self.carries(peer_id, best) or not self.comes(peer_id, before):
            before = best if self.comes(peer_id, best) else _other(best)
            self._shown[peer_id] = before
        return before if self.comes(peer_id, before) else None

    def gap(self, of: str) -> float | None:
        """Return the longest time between two sounds of a peer, on the path that is shown, in seconds.

        A silence that still goes on counts. None where there was no sound.
        """
        if of not in self._heard:
            return None
        return max(self._gaps[of], self._clock() - self._heard[of])

    def forget_gaps(self) -> None:
        """Measure anew, from the last sound of each peer on."""
        self._gaps = dict.fromkeys(self._heard, 0.0)

    def _kinds(self, peer_id: str, path: Path) -> set[str]:
        now = self._clock()
        last = self._last.get((peer_id, path), {})
        return {kind for kind, at in last.items() if now - at < RECENT}


def _other(path: Path) -> Path:
    return "sfu" if path == "mesh" else "mesh"
