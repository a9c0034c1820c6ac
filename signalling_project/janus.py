"""A private Janus for the demo and the tests, with its own configuration, secrets and port.

::

    janus = PrivateJanus.configure(Path(".demo/janus"))
    with (janus.folder / "log").open("ab") as log:
        process = janus.start(stdout=log, stderr=log)
    janus.wait(process)

It listens on the loopback only, and ignores ``/etc/janus``, where the API is open and the secrets are
well known.
"""

from __future__ import annotations

import base64
import ctypes
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

PROGRAM = "janus"
PORTS = range(20_000, 32_768)
"""Below the ephemeral ports of the kernel, so that a restarted Janus finds its port still free."""
OTHER_PLUGINS = (
    *("audiobridge", "duktape", "echotest", "lua", "nosip", "recordplay", "sip", "streaming"),
    *("textroom", "videocall", "voicemail"),
)
OTHER_TRANSPORTS = ("http", "mqtt", "nanomsg", "pfunix", "rabbitmq")
PR_SET_PDEATHSIG = 1  # linux/prctl.h

# ICE: Janus excludes the loopback, so its candidates are the machine's own addresses. Packets to those
# never leave the machine. The kernel chooses the ports (no `rtp_port_range`), so that several Janus
# servers do not collide.
CORE = """general: {{
    api_secret = "{api_secret}"
    admin_secret = "{admin_secret}"
    server_name = "django-signalling"
    session_timeout = 60
    reclaim_session_timeout = 30
    debug_level = 4
    debug_timestamps = true
    debug_colors = false
    hide_dependencies = true
}}
media: {{ ipv6 = false }}
nat: {{ ignore_mdns = true }}
plugins: {{ disable = "{plugins}" }}
transports: {{ disable = "{transports}" }}
loggers: {{ disable = "libjanus_jsonlog.so" }}
events: {{ broadcast = false }}
"""
WEBSOCKETS = """general: {{
    json = "compact"
    ws = true
    ws_ip = "127.0.0.1"
    ws_port = {port}
    wss = false
    events = false
}}
admin: {{ admin_ws = false, admin_wss = false }}
"""
VIDEOROOM = """general: {{
    admin_key = "{admin_key}"
    lock_rtp_forward = true
    string_ids = true
    events = false
}}
"""


@dataclass(frozen=True)
class PrivateJanus:
    """A configured Janus. ``start`` can be called again after the process has ended."""

    folder: Path
    port: int
    api_secret: str
    admin_key: str

    @classmethod
    def configure(cls, folder: Path) -> PrivateJanus:
        """Write a configuration with new secrets. Create the folder if it does not exist."""
        janus = cls(folder, free_port(), secrets.token_urlsafe(24), secrets.token_urlsafe(24))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in janus._files().items():
            path = folder / f"{name}.jcfg"
            path.touch(mode=0o600)
            path.write_text(text)
        return janus

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """The value for ``SIGNALLING["SFU"]`` of a site that uses this Janus."""
        return {
            "BACKEND": "signalling.sfu.janus.JanusSfu",
            "URL": self.url,
            "ADMIN_KEY": self.admin_key,
            "API_SECRET": self.api_secret,
        }

    @property
    def command(self) -> list[str]:
        return [PROGRAM, "--configs-folder", str(self.folder)]

    def start(self, **options: Any) -> subprocess.Popen[bytes]:
        """Start Janus as a child process that ends when this process does.

        ``options`` are passed to ``subprocess.Popen``. Janus has its own process group, so that the
        server can still use it while it shuts down after Ctrl-C.
        """
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(  # noqa: S603
            self.command, process_group=0, preexec_fn=_kill_with_parent(os.getpid()), **options
        )

    def wait(self, process: subprocess.Popen[bytes], *, within: float = 15.0) -> None:
        """Wait until Janus is ready. Raises ``OSError`` if it exits or if ``within`` seconds pass."""
        poll, deadline = threading.Event(), time.monotonic() + within
        while not self.is_ready():
            if process.poll() is not None:
                raise OSError(f"Janus exited with status {process.returncode}, see {self.folder}")
            if time.monotonic() > deadline:
                raise OSError(f"Janus did not start within {within} s, see {self.folder}")
            poll.wait(0.05)

    def is_ready(self) -> bool:
        """Return whether a server accepts the Janus WebSocket protocol at ``url``."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        key = base64.b64encode(os.urandom(16)).decode()
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": key}
        headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "janus-protocol"}
        try:
            connection.request("GET", "/", headers=headers)
            return connection.getresponse().status == 101
        except OSError:
            return False
        finally:
            connection.close()

    def _files(self) -> dict[str, str]:
        core = {"api_secret": self.api_secret, "admin_secret": secrets.token_urlsafe(24)}
        core |= {"plugins": _libraries(OTHER_PLUGINS), "transports": _libraries(OTHER_TRANSPORTS)}
        return {
            "janus": CORE.format(**core),
            "janus.transport.websockets": WEBSOCKETS.format(port=self.port),
            "janus.plugin.videoroom": VIDEOROOM.format(admin_key=self.admin_key),
        }


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None


def free_port(ports: range = PORTS) -> int:
    """Return an unused port outside of the ephemeral range."""
    for port in random.sample(ports, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port in {ports}")


def _libraries(names: Iterable[str]) -> str:
    return ",".join(f"libjanus_{name}.so" for name in names)


def _kill_with_parent(parent: int) -> Callable[[], None] | None:
    """Return a ``preexec_fn`` that has the kernel kill the child when its parent ends."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def request_kill() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent has already ended
            os._exit(1)

    return request_kill
