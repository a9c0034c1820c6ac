"""A real Janus of the tests' own, which they stop, kill and start again, and ask what is in it."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from signalling_project.janus import PrivateJanus
from tests.integration.processes import Process, require

PLUGIN = "janus.plugin.videoroom"


class Janus(Process):
    """It keeps its port and its secrets when it is started again, and nothing else."""

    def __init__(self, folder: Path) -> None:
        super().__init__("janus", folder / "janus.log")
        require("janus", "janus")
        self.private = PrivateJanus.configure(folder / "janus")

    def start(self) -> None:
        """Start it, or start it again on the same port."""
        self.spawn(self.private.command)
        self.wait_until(self.private.answers)

    def is_killed(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.wait()

    @property
    def settings(self) -> dict[str, str]:
        """What a site has as its ``SIGNALLING["SFU"]``."""
        return self.private.settings

    def rooms(self) -> set[str]:
        """Return the rooms that are there, those that are not listed in public too."""
        with self._plugin() as ask:
            return {room["room"] for room in ask("list", admin_key=self.private.admin_key)["list"]}

    def peers(self) -> dict[str, bool]:
        """Return who is in the rooms, and whether each publishes."""
        with self._plugin() as ask:
            rooms = ask("list", admin_key=self.private.admin_key)["list"]
            listed = [ask("listparticipants", room=room["room"]) for room in rooms]
        return {peer["id"]: peer["publisher"] for room in listed for peer in room["participants"]}

    @contextmanager
    def _plugin(self) -> Iterator[Any]:
        """Yield a function that asks the plugin."""
        with connect(self.private.url, subprotocols=["janus-protocol"], proxy=None) as socket:  # type: ignore[list-item]
            api = _Api(socket, self.private.api_secret)
            session = api.ask({"janus": "create"})["data"]["id"]
            attached = api.ask({"janus": "attach", "session_id": session, "plugin": PLUGIN})
            handle = {"session_id": session, "handle_id": attached["data"]["id"]}

            def ask(request: str, **body: Any) -> Any:
                message = {"janus": "message", **handle, "body": {"request": request, **body}}
                return api.ask(message)["plugindata"]["data"]

            yield ask
            api.ask({"janus": "destroy", "session_id": session})


class _Api:
    def __init__(self, socket: ClientConnection, secret: str) -> None:
        self._socket = socket
        self._secret = secret
        self._numbers = itertools.count()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        number = str(next(self._numbers))
        envelope = {"transaction": number, "apisecret": self._secret}
        self._socket.send(json.dumps({**message, **envelope}))
        while True:
            answer: dict[str, Any] = json.loads(self._socket.recv(timeout=5))
            if answer.get("transaction") == number:
                assert answer["janus"] == "success", answer
                return answer
