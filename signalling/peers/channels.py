"""The channels that peers had before they resumed: losses of relays are reported by channel."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST = 256
"""The most channels that are remembered; the oldest is forgotten."""


@dataclass
class PreviousChannels:
    """The latest channels that the peers of a roster no longer have."""

    owners: dict[str, str] = field(default_factory=dict)
    """Channel name → peer id."""

    def add(self, channel: str, peer_id: str) -> None:
        """Remember a channel that the peer no longer has."""
        self.owners[channel] = peer_id
        if len(self.owners) > MOST:
            del self.owners[next(iter(self.owners))]

    def peers_at(self, channel: str, roster: dict[str, str]) -> list[str]:
        """Return the peers of a roster that have a channel now or had it before."""
        owner = self.owners.get(channel)
        return [peer for peer, current in roster.items() if channel == current or peer == owner]

    def forget(self, peer_id: str) -> None:
        """Forget the channels of a peer that has left."""
        for channel in [name for name, owner in self.owners.items() if owner == peer_id]:
            del self.owners[channel]
