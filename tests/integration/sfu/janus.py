"""A real Janus of the tests' own, which they stop, kill and start again."""

from __future__ import annotations

import signal
from pathlib import Path

from signalling.sfu.private import PrivateJanus
from tests.integration.servers import Process, require


class Janus(Process):
    """On a port of its own, with a configuration and secrets of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__("janus", folder / "janus.log")
        require("janus", "janus")
        self.private = PrivateJanus.configure(folder / "janus")

    @property
    def settings(self) -> dict[str, str]:
        """What a site has as its ``SIGNALLING["SFU"]``."""
        return self.private.settings

    def start(self) -> None:
        """Start it, or start it again on the same port."""
        self.spawn(self.private.command)
        self.wait_until(self.private.answers)

    def is_killed(self) -> None:
        self.signals(signal.SIGKILL)
        self.ends()
