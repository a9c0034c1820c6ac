"""``examples/existing_site`` in an environment with the wheel, and the servers that may serve it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from signalling_project.janus import free_port
from tests.integration.processes import Process
from tests.wheels import ROOT, Environment

SITE = ROOT / "examples" / "existing_site"
APPLICATION = "praxis.asgi:application"
PASSWORD = "korrekte Pferde"
SERVERS = {
    "runserver": ["manage.py", "runserver", "127.0.0.1:{port}", "--noreload"],
    "our daphne": ["-m", "signalling.servers.daphne", "-p", "{port}", APPLICATION],
    "daphne": ["-m", "daphne", "-p", "{port}", APPLICATION],
    "uvicorn": ["-m", "uvicorn", "--port", "{port}", APPLICATION],
    "gunicorn": [
        *("-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker"),
        *("-b", "127.0.0.1:{port}", APPLICATION),
    ],
}


class ExistingSite:
    """A copy of the site, with its database, its static files and one appointment."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder / "site"
        shutil.copytree(SITE, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        ours, *others = (SITE / "requirements.txt").read_text().split()
        extras = re.fullmatch(r"django-signalling\[(.*)\]", ours)
        assert extras, ours
        self.environment = Environment(folder / "venv", wheel, extras[1].split(","))
        self.environment.install(*others)
        self._manage("migrate", "-v0")
        self._manage("collectstatic", "--noinput", "-v0")
        self.appointment = self._manage("seed").strip()

    @contextmanager
    def serve(self, server: str) -> Iterator[str]:
        """Serve the site, and yield its URL."""
        port = free_port()
        process = Process(server, self.folder / f"{server}.log")
        arguments = [text.format(port=port) for text in SERVERS[server]]
        process.spawn(
            [self.environment.python, *arguments],
            cwd=self.folder,
            env={"DJANGO_SETTINGS_MODULE": "praxis.settings", "PYTHONUNBUFFERED": "1"},
        )
        url = f"http://127.0.0.1:{port}"
        try:
            process.wait_until(lambda: _answers(f"{url}/login/"))
            yield url
            assert "Traceback" not in process.output(), process.output()
        finally:
            process.stop()

    def test(self) -> str:
        """Run the tests of the site, and return their output."""
        self.environment.install("pytest", "pytest-django")
        return self.environment.run("-m", "pytest", "-q", cwd=self.folder)

    def _manage(self, *arguments: str) -> str:
        return self.environment.run("manage.py", *arguments, cwd=self.folder)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=30) as response:
            return bool(response.status == 200)
    except HTTPError as error:
        raise AssertionError(f"{url} answers {error}") from error
    except OSError:
        return False
