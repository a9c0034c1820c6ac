"""What one peer receives from the other peers, and on which path it displays each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Literal

Path = Literal["mesh", "sfu"]
PATHS: tuple[Path, ...] = ("mesh", "sfu")

TIMEOUT_SECONDS = 2.0  # media has stopped if no frame arrived for this long


class Stats:
    """Counts decoded frames by peer and path. Times are those of ``clock``, in seconds.

    Each peer is displayed on one path: on ``preferred_path`` as soon as every kind of media that
    arrives on the other path arrives on it too.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.preferred_path: Path = "mesh"
        self._clock = clock
        self._frames: Counter[tuple[str, Path]] = Counter()
        self._last: dict[tuple[str, Path], dict[str, float]] = {}
        self._displayed: dict[str, Path] = {}
        self._last_audio: dict[str, float] = {}
        self._audio_gaps: dict[str, float] = {}

    def record_frame(self, peer_id: str, path: Path, kind: str) -> None:
        """Count a frame that has just been decoded."""
        now = self._clock()
        key = peer_id, path
        self._last.setdefault(key, {})[kind] = now
        if kind == "video":
            self._frames[key] += 1
        elif self.displayed_path(peer_id) == path:
            previous = self._last_audio.get(peer_id, now)
            self._audio_gaps[peer_id] = max(self._audio_gaps.get(peer_id, 0.0), now - previous)
            self._last_audio[peer_id] = now

    def connection_closed(self, peer_id: str, path: Path) -> None:
        """Note that a path no longer carries a peer. Its frames stay counted."""
        self._last.pop((peer_id, path), None)

    def path_closed(self, path: Path) -> None:
        """Note that a path no longer carries any peer."""
        for peer_id, known_path in list(self._last):
            if known_path == path:
                self.connection_closed(peer_id, path)

    def frames(self, peer_id: str, path: Path) -> int:
        """Return how many video frames of a peer were decoded on a path."""
        return self._frames[peer_id, path]

    def is_receiving(self, peer_id: str, path: Path) -> bool:
        """Return whether any media of a peer arrives on a path now."""
        return bool(self._kinds(peer_id, path))

    def is_complete(self, peer_id: str, path: Path) -> bool:
        """Return whether a path carries every kind of media that the other path carries."""
        kinds = self._kinds(peer_id, path)
        return bool(kinds) and kinds >= self._kinds(peer_id, _other(path))

    def displayed_path(self, peer_id: str) -> Path | None:
        """Return the path on which a peer is displayed, or None if no media of it arrives."""
        path, preferred = self._displayed.get(peer_id), self.preferred_path
        if (
            path is None
            or self.is_complete(peer_id, preferred)
            or not self.is_receiving(peer_id, path)
        ):
            path = preferred if self.is_receiving(peer_id, preferred) else _other(preferred)
            self._displayed[peer_id] = path
        return path if self.is_receiving(peer_id, path) else None

    def audio_gap(self, peer_id: str) -> float | None:
        """Return the longest gap in a peer's displayed audio, in seconds, including a current one.

        None if no audio was received.
        """
        if peer_id not in self._last_audio:
            return None
        return max(self._audio_gaps[peer_id], self._clock() - self._last_audio[peer_id])

    def reset_audio_gaps(self) -> None:
        """Measure gaps from the last audio frame of each peer on."""
        self._audio_gaps = dict.fromkeys(self._last_audio, 0.0)

    def _kinds(self, peer_id: str, path: Path) -> set[str]:
        now = self._clock()
        last = self._last.get((peer_id, path), {})
        return {kind for kind, at in last.items() if now - at < TIMEOUT_SECONDS}


def _other(path: Path) -> Path:
    return "sfu" if path == "mesh" else "mesh"
