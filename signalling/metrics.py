"""Prometheus metrics. No label contains a room code, a user or an address.

The event loop's thread counts in plain integers, which are converted when Prometheus scrapes:
counters of ``prometheus_client`` take a lock, which is too expensive for relays. The metrics are in
the default registry of ``prometheus_client``; serve them with its ``make_asgi_app()`` or
``start_http_server()``. Each process has its own counts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .layers import drops
from .protocol import ClientEvent

requests: Counter[type[ClientEvent]] = Counter()
errors: Counter[str] = Counter()
closes: Counter[int] = Counter()
totals: Counter[str] = Counter()  # keys: "sockets" (currently open), "overflows", "undelivered"
ignored = drops.Drops(logging.getLogger("signalling"))
"""Messages of the channel layer that a socket could not read; the reasons are in ``foreign``."""


class SignallingCollector(Collector):
    """Converts the counts of this process to Prometheus metrics."""

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        by_event = {struct.event: count for struct, count in requests.items()}
        yield _counter("requests", "Requests by event", "event", by_event)
        yield _counter("errors", "Error events by code", "code", errors)
        yield _counter("closes", "Connections closed by the application, by code", "code", closes)
        yield _counter(
            "ignored_messages",
            "Messages of the channel layer that sockets ignored, by reason",
            "reason",
            ignored.counts,
        )
        yield _counter(
            "bus_drops",
            "Payloads and messages from Redis that the layer dropped, by reason",
            "reason",
            drops.bus.counts,
        )
        yield GaugeMetricFamily("signalling_sockets", "Open sockets", value=totals["sockets"])
        yield CounterMetricFamily(
            "signalling_overflows",
            "Clients closed because they read too slowly",
            value=totals["overflows"],
        )
        yield CounterMetricFamily(
            "signalling_undelivered",
            "Frames lost by the channel layer after they were sent",
            value=totals["undelivered"],
        )


def _counter(
    name: str, documentation: str, label: str, counts: dict[str, int] | Counter[int] | Counter[str]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"signalling_{name}", documentation, labels=[label])
    for value, count in counts.items():
        family.add_metric([str(value)], count)
    return family


REGISTRY.register(SignallingCollector())
