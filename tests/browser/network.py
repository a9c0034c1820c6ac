"""A network that fails. Pages can close their sockets, but not break them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

from tests.browser.demo import Demo

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Proxy:
    """A TCP proxy in front of the demo. While it is cut, all connections through it are reset."""

    def __init__(self, demo: Demo) -> None:
        self.connect_to(demo)
        self._listener = socket.create_server(("127.0.0.1", 0))
        # The same host with another port has the same cookies but a different origin.
        self.demo = replace(demo, url=f"http://127.0.0.1:{self._listener.getsockname()[1]}")
        self._lock = threading.Lock()
        self._is_cut = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def connect_to(self, demo: Demo) -> None:
        """Use another server from the next connection on."""
        server = urlsplit(demo.url)
        self._server = (server.hostname, server.port)

    def cut(self) -> None:
        """Reset all connections, and new ones until ``restore``."""
        with self._lock:
            self._is_cut = True
            for end in self._open:
                _reset(end)
            self._open.clear()

    def restore(self) -> None:
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        self.cut()
        # close() alone does not wake the thread that is in accept().
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
        with suppress(OSError):  # reset by us or by one of the ends
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
            return
        with self._lock:
            for end in {source, target} & self._open:
                self._open.remove(end)
                _reset(end)


@contextmanager
def proxy_to(demo: Demo) -> Iterator[Proxy]:
    proxy = Proxy(demo)
    try:
        yield proxy
    finally:
        proxy.close()


def _reset(end: socket.socket) -> None:
    with suppress(OSError):  # the other side was faster
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        # Wakes the thread that reads; close() alone would keep the thread and the connection.
        end.shutdown(socket.SHUT_RD)
    end.close()
