"""Counters, for Prometheus; no room code, no user and no address is a label.

They are in prometheus-client's default registry: a site serves them with ``make_asgi_app()`` or
``start_http_server``. Each process counts for itself.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from .protocol import CLIENT_EVENTS, CloseCode, ErrorCode

sockets = Gauge("signalling_sockets", "Sockets that are open")
overflows = Counter("signalling_overflows", "Sockets closed because their client was too slow")
undelivered = Counter("signalling_undelivered", "Frames that the broker lost after they were sent")

_requests = Counter("signalling_requests", "Requests by event", ["event"])
_errors = Counter("signalling_errors", "Error events by code", ["code"])
_closes = Counter("signalling_closes", "Closes by the application, by code", ["code"])

# Bound once: finding a label's child costs more than counting.
requests = {struct: _requests.labels(name) for name, struct in CLIENT_EVENTS.items()}
errors = {code.value: _errors.labels(code.value) for code in ErrorCode}
closes = {code: _closes.labels(str(int(code))) for code in CloseCode}
