"""Counters, for Prometheus; no room code, no user and no address is a label.

Counted in plain numbers by the one thread of the event loop, and read when Prometheus asks: a counter of
prometheus-client takes a lock, which costs more than a relay can spare. They are in its default registry:
a site serves them with ``make_asgi_app()`` or ``start_http_server``. Each process counts for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .protocol import ClientEvent

requests: Counter[type[ClientEvent]] = Counter()
errors: Counter[str] = Counter()
closes: Counter[int] = Counter()
totals: Counter[str] = Counter()  # "sockets" (open now), "overflows", "undelivered"


class SignallingCollector(Collector):
    """What this process has counted, as Prometheus wants to read it."""

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        by_event = {struct.event: count for struct, count in requests.items()}
        yield _counter("requests", "Requests by event", "event", by_event)
        yield _counter("errors", "Error events by code", "code", errors)
        yield _counter("closes", "Closes by the application, by code", "code", closes)
        yield GaugeMetricFamily(
            "signalling_sockets", "Sockets that are open", value=totals["sockets"]
        )
        yield CounterMetricFamily(
            "signalling_overflows", "Clients that were too slow", value=totals["overflows"]
        )
        yield CounterMetricFamily(
            "signalling_undelivered",
            "Frames that the broker lost after they were sent",
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
