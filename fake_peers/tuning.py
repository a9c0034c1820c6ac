"""Process-wide changes to aiortc that make many peers in one process affordable."""

from __future__ import annotations

from typing import Any

import aioice.ice
import aiortc.rtcrtpreceiver


def gather_one_local_candidate() -> None:
    """Gather ICE candidates for only one address of this machine, and not for the loopback.

    Janus has no candidates on the loopback and cannot send there (libnice binds its sockets to an
    interface). Packets to the machine's own address do not leave the machine either.
    """
    addresses = aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=False)[:1]
    chosen = addresses or ["127.0.0.1"]
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: chosen


def disable_bandwidth_estimation() -> None:
    """Disable the bandwidth estimation of aiortc.

    With many peers it takes a third of the CPU time.
    """
    vars(aiortc.rtcrtpreceiver)["RemoteBitrateEstimator"] = _NoEstimator


class _NoEstimator:
    def add(self, **packet: Any) -> None:
        """Estimate nothing."""
