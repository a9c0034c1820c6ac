"""``python -m fake_peers``: fake peers for a room, to see what many people look like."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from signalling.client import ClientClosed, ConnectionLost, RequestRefused

from .connection import estimate_nothing, stay_on_this_machine
from .peer import FakePeer

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
TOKEN_SECONDS = 300.0  # for which one that was given is used again
STATUS_SECONDS = 0.5


def main() -> None:
    options = _parser().parse_args()
    logging.basicConfig(level=logging.ERROR)
    if _is_local(options):
        stay_on_this_machine()
    estimate_nothing()
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(asyncio.run(_run(options)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fake_peers",
        description="Have fake peers join a room and take part in its call: each shows a picture of a "
        "colour of its own with its number, in a mesh and through an SFU. Ctrl-C ends it.",
    )
    parser.add_argument(
        "--url", default="http://127.0.0.1:8000", help="the site (default: %(default)s)"
    )
    parser.add_argument("--room", default="ABC123", help="code of the room (default: %(default)s)")
    parser.add_argument("-n", type=int, default=12, help="how many peers (default: %(default)s)")
    parser.add_argument(
        "--audio",
        type=int,
        default=0,
        help="how many of them also say something, a tone (default: none)",
    )
    parser.add_argument(
        "--fps", type=float, default=3.0, help="pictures a second (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, help="leave after so long (default: stay)")
    parser.add_argument(
        "--json", action="store_true", help="say what each peer sees, as a line of JSON each"
    )
    who = parser.add_argument_group("who they are", "one of these")
    who.add_argument(
        "--demo", type=Path, metavar="DIR", help="bob of the `make demo` whose folder this is"
    )
    who.add_argument("--username", help="a user, with --password")
    who.add_argument("--password")
    who.add_argument("--token", help="an access token")
    return parser


async def _run(options: argparse.Namespace) -> int:
    peers: list[FakePeer] = []
    _leave_on_sigterm()
    try:
        token = _token(options)
        await token()
        for number in range(1, options.n + 1):
            peers.append(await _join(options, number, token))
            if not options.json:
                print(f"\rjoined {number}/{options.n}", end="", flush=True)
        say = _say_all if options.json else _Changes().say
        await _watch(peers, options.seconds, say)
        return 0 if all(not peer.end for peer in peers) else 1
    except (RequestRefused, ClientClosed, ConnectionLost, OSError, ValueError) as error:
        print(f"\n{_explained(error, options)}", file=sys.stderr)
        return 1
    finally:
        await asyncio.gather(*(peer.close() for peer in peers))


def _leave_on_sigterm() -> None:
    """As with Ctrl-C, and in peace."""
    task = asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError):  # on Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _join(
    options: argparse.Namespace, number: int, token: Callable[[], Awaitable[str]]
) -> FakePeer:
    socket = "ws" + options.url.removeprefix("http").rstrip("/") + "/ws/signalling/"
    peer = FakePeer(
        socket,
        options.room,
        number=number,
        fps=options.fps,
        audio=number <= options.audio,
        token=token,
        **({"proxy": None} if _is_local(options) else {}),
    )
    await peer.join()
    return peer


async def _watch(
    peers: list[FakePeer], seconds: float | None, say: Callable[[list[FakePeer]], None]
) -> None:
    """Say how it is, until the time is over or nobody is left."""
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    while time.monotonic() < until and not all(peer.end for peer in peers):
        say(peers)
        await asyncio.sleep(STATUS_SECONDS)


def _say_all(peers: list[FakePeer]) -> None:
    for peer in peers:
        print(json.dumps(peer.report()), flush=True)


class _Changes:
    """Says it to a person, and nothing twice."""

    said = "\n"

    def say(self, peers: list[FakePeer]) -> None:
        if (status := _status(peers)) != self.said:
            print(status if self.said.strip() else f"\n{status}", flush=True)
            self.said = status


def _status(peers: list[FakePeer]) -> str:
    here = [peer for peer in peers if not peer.end]
    modes = Counter(f"{peer.mode}{' (switching)' if peer.is_switching else ''}" for peer in here)
    paths = Counter(path or "nothing yet" for peer in here for path in peer.paths().values())
    parts = [
        f"{len(here)} of {len(peers)} fake peers in the room",
        "mode "
        + ", ".join(
            f"{mode} ({count})" if len(modes) > 1 else mode for mode, count in modes.items()
        ),
        "they see others by "
        + (", ".join(f"{path}: {n}" for path, n in sorted(paths.items())) or "nobody"),
    ]
    ends = Counter(peer.end for peer in peers if peer.end)
    return " · ".join(parts + [f"{count} left: {end}" for end, count in ends.items()])


def _token(options: argparse.Namespace) -> Callable[[], Awaitable[str]]:
    """Return what gives a token whenever a peer connects. Raises ``ValueError``."""
    if options.token:

        async def given() -> str:
            token: str = options.token
            return token

        return given
    return Account(options.url, *_account(options)).token


class Account:
    """Signs in now and then, for all peers."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._sign_in = partial(_sign_in, url, username, password)
        self._token = ""
        self._at = -TOKEN_SECONDS
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        async with self._lock:
            if time.monotonic() - self._at > TOKEN_SECONDS:
                self._token = await asyncio.to_thread(self._sign_in)
                self._at = time.monotonic()
        return self._token


def _is_local(options: argparse.Namespace) -> bool:
    return urlsplit(options.url).hostname in LOOPBACK


def _account(options: argparse.Namespace) -> tuple[str, str]:
    if options.demo:
        file = options.demo / "password-bob"
        if not file.exists():
            raise ValueError(f"There is no demo in {options.demo}: run `make demo-sfu` first.")
        return "bob", file.read_text()
    if options.username and options.password:
        return options.username, options.password
    raise ValueError("Who are they? Give --demo, --token, or --username and --password.")


def _sign_in(url: str, username: str, password: str) -> str:
    body = json.dumps({"username": username, "password": password}).encode()
    request = Request(f"{url.rstrip('/')}/api/token/", body, {"Content-Type": "application/json"})  # noqa: S310
    with urlopen(request, timeout=10) as response:  # noqa: S310
        return str(json.load(response)["access"])


def _explained(error: Exception, options: argparse.Namespace) -> str:
    """Say what to do about it."""
    match error:
        case HTTPError(code=401):
            return f"{options.url} does not accept the password."
        case URLError() | ConnectionError():
            return f"Nobody answers at {options.url}: {error}. Is the site running there?"
        case RequestRefused(code="room_full"):
            return "The room is full, and no SFU helps: run `make demo-sfu` instead of `make demo`."
        case RequestRefused():
            return f"The server refuses: {error}"
    return str(error)


if __name__ == "__main__":
    main()
