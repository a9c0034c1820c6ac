"""A network that fails: what a page cannot do to its own socket, which it can only close."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

from tests.browser.demo import Demo

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closed without a goodbye


class Line:
    """A TCP proxy in front of the demo. While it is cut, nothing that uses it is connected."""

    def __init__(self, demo: Demo) -> None:
        self.leads_to(demo)
        self._listener = socket.create_server(("127.0.0.1", 0))
        # The same host with another port: the same cookies, and a site of its own to the Origin check.
        self.demo = replace(demo, url=f"http://127.0.0.1:{self._listener.getsockname()[1]}")
        self._lock = threading.Lock()
        self._is_cut = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def leads_to(self, demo: Demo) -> None:
        """Lead to another server from the next connection on."""
        server = urlsplit(demo.url)
        self._server = (server.hostname, server.port)

    def cut(self) -> None:
        """Reset every connection, and every one that is tried until ``mend``."""
        with self._lock:
            self._is_cut = True
            for end in self._open:
                _reset(end)
            self._open.clear()

    def mend(self) -> None:
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        self.cut()
        # Alone, close() would not wake the thread that is in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                near, _ = self._listener.accept()
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        with self._lock:
            if self._is_cut:
                _reset(near)
                return
            far = socket.create_connection(self._server)
            self._open |= {near, far}
        for ends in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # reset, by us or by one of the ends
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
            return
        with self._lock:
            for end in {source, target} & self._open:
                self._open.remove(end)
                _reset(end)


@contextmanager
def line_to(demo: Demo) -> Iterator[Line]:
    line = Line(demo)
    try:
        yield line
    finally:
        line.close()


def _reset(end: socket.socket) -> None:
    with suppress(OSError):  # the other side was faster
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        # Wakes the thread that reads it; close() alone would leave it, and the connection with it.
        end.shutdown(socket.SHUT_RD)
    end.close()
