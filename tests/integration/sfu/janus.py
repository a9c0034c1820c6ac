"""A private Janus that tests can stop, kill, restart and inspect."""

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
    """A Janus process. After a restart it has the same port and secrets, but no state."""

    def __init__(self, folder: Path) -> None:
        super().__init__("janus", folder / "janus.log")
        require("janus", "janus")
        self.private = PrivateJanus.configure(folder / "janus")

    def start(self) -> None:
        """Start or restart Janus on the same port."""
        self.spawn(self.private.command)
        self.wait_until(self.private.is_ready)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.wait()

    @property
    def settings(self) -> dict[str, str]:
        """The value for ``SIGNALLING["SFU"]`` of a site."""
        return self.private.settings

    def rooms(self) -> set[str]:
        """Return all rooms, including private ones."""
        with self._plugin() as request:
            return {
                room["room"] for room in request("list", admin_key=self.private.admin_key)["list"]
            }

    def peers(self) -> dict[str, bool]:
        """Return whether each peer of all rooms publishes, by peer id."""
        with self._plugin() as request:
            rooms = request("list", admin_key=self.private.admin_key)["list"]
            listed = [request("listparticipants", room=room["room"]) for room in rooms]
        return {peer["id"]: peer["publisher"] for room in listed for peer in room["participants"]}

    @contextmanager
    def _plugin(self) -> Iterator[Any]:
        """Yield a function that sends a request to the plugin and returns its data."""
        with connect(self.private.url, subprotocols=["janus-protocol"], proxy=None) as socket:  # type: ignore[list-item]
            api = _Api(socket, self.private.api_secret)
            session = api.request({"janus": "create"})["data"]["id"]
            attached = api.request({"janus": "attach", "session_id": session, "plugin": PLUGIN})
            handle = {"session_id": session, "handle_id": attached["data"]["id"]}

            def request(name: str, **body: Any) -> Any:
                message = {"janus": "message", **handle, "body": {"request": name, **body}}
                return api.request(message)["plugindata"]["data"]

            yield request
            api.request({"janus": "destroy", "session_id": session})


class _Api:
    def __init__(self, socket: ClientConnection, secret: str) -> None:
        self._socket = socket
        self._secret = secret
        self._numbers = itertools.count()

    def request(self, message: dict[str, Any]) -> dict[str, Any]:
        number = str(next(self._numbers))
        envelope = {"transaction": number, "apisecret": self._secret}
        self._socket.send(json.dumps({**message, **envelope}))
        while True:
            answer: dict[str, Any] = json.loads(self._socket.recv(timeout=5))
            if answer.get("transaction") == number:
                assert answer["janus"] == "success", answer
                return answer
