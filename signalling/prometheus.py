"""Prometheus metrics. No label contains a room code, a user or an address.

They are in the default registry of ``prometheus_client``; serve them with its ``make_asgi_app()`` or
``start_http_server()``. Each process has its own counts. Requires the extra ``metrics``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from . import metrics
from .layers import drops


class SignallingCollector(Collector):
    """Converts the counts of this process to Prometheus metrics."""

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        by_event = {struct.event: count for struct, count in metrics.requests.items()}
        yield _counter("requests", "Requests by event", "event", by_event)
        yield _counter("errors", "Error events by code", "code", metrics.errors)
        yield _counter(
            "closes", "Connections closed by the application, by code", "code", metrics.closes
        )
        yield _counter(
            "ignored_messages",
            "Messages of the channel layer that sockets ignored, by reason",
            "reason",
            metrics.ignored.counts,
        )
        yield _counter(
            "bus_drops",
            "Payloads and messages from Redis that the layer dropped, by reason",
            "reason",
            drops.bus.counts,
        )
        yield GaugeMetricFamily(
            "signalling_sockets", "Open sockets", value=metrics.totals["sockets"]
        )
        yield CounterMetricFamily(
            "signalling_overflows",
            "Clients closed because they read too slowly",
            value=metrics.totals["overflows"],
        )
        yield CounterMetricFamily(
            "signalling_undelivered",
            "Frames lost by the channel layer after they were sent",
            value=metrics.totals["undelivered"],
        )


def _counter(
    name: str, documentation: str, label: str, counts: dict[str, int] | Counter[int] | Counter[str]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"signalling_{name}", documentation, labels=[label])
    for value, count in counts.items():
        family.add_metric([str(value)], count)
    return family


REGISTRY.register(SignallingCollector())
