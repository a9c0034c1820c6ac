"""A private Janus is not accessible to others and never outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.sync.client import connect

from signalling_project.janus import PrivateJanus
from tests.integration.processes import ROOT, eventually, require
from tests.integration.sfu.janus import Janus

PARENT = """
import sys
from pathlib import Path
import django
django.setup()
from signalling_project.janus import PrivateJanus
janus = PrivateJanus.configure(Path(sys.argv[1]))
process = janus.start(stdout=sys.stderr)
janus.wait(process)
print(process.pid, flush=True)
sys.stdin.read()
"""


def send_request(janus: Janus, request: str, **more: str) -> dict[str, Any]:
    with connect(janus.private.url, subprotocols=["janus-protocol"], proxy=None) as socket:  # type: ignore[list-item]
        socket.send(json.dumps({"janus": request, "transaction": "1", **more}))
        answer: dict[str, Any] = json.loads(socket.recv(timeout=5))
        return answer


def test_only_the_videoroom_plugin_and_the_websocket_transport_are_enabled(janus: Janus) -> None:
    info = send_request(janus, "info")
    assert list(info["plugins"]) == ["janus.plugin.videoroom"]
    assert list(info["transports"]) == ["janus.transport.websockets"]
    assert info["server-name"] == "django-signalling"
    assert (info["session-timeout"], info["reclaim-session-timeout"]) == (60, 30)


def test_it_listens_only_on_the_loopback(janus: Janus) -> None:
    sockets = psutil.Process(janus.pid).net_connections("tcp")
    listening = [found.laddr for found in sockets if found.status == psutil.CONN_LISTEN]
    assert [tuple(address) for address in listening] == [("127.0.0.1", janus.private.port)]


def test_the_api_requires_the_secret(janus: Janus) -> None:
    assert send_request(janus, "create")["error"]["code"] == 403
    assert send_request(janus, "create", apisecret="janusrocks")["error"]["code"] == 403
    assert send_request(janus, "create", apisecret=janus.private.api_secret)["janus"] == "success"


def test_secrets_are_unique_and_only_readable_by_the_owner(tmp_path: Path) -> None:
    first, second = (PrivateJanus.configure(tmp_path / name) for name in ("first", "second"))
    assert first.port != second.port
    assert len({first.api_secret, first.admin_key, second.api_secret, second.admin_key}) == 4
    for path in [first.folder, *first.folder.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    texts = [path.read_text() for path in first.folder.iterdir()]
    assert not any("janusoverlord" in text or "supersecret" in text for text in texts)


def test_a_killed_janus_restarts_on_the_same_port(janus: Janus) -> None:
    janus.kill()
    assert not janus.private.is_ready()
    janus.start()
    assert janus.private.is_ready()
    assert janus.rooms() == set()


@pytest.mark.skipif(sys.platform != "linux", reason="requires prctl")
def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    require("janus", "janus")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "janus")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.Process(pid).name() == "janus"
    parent.send_signal(signal.SIGKILL)
    parent.communicate()

    def has_ended() -> bool:
        try:
            return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    try:
        eventually(has_ended, "Janus to end")
    finally:
        if not has_ended():
            psutil.Process(pid).kill()
