"""``python -m fake_peers``: fill a room with fake peers."""

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

from .peer import FakePeer
from .tuning import disable_bandwidth_estimation, gather_one_local_candidate

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
TOKEN_SECONDS = 300.0  # how long an access token is reused
STATUS_SECONDS = 0.5

GetToken = Callable[[], Awaitable[str]]
PrintStatus = Callable[[list[FakePeer]], None]


def main() -> None:
    options = _parser().parse_args()
    logging.basicConfig(level=logging.ERROR)
    if _is_local(options):
        gather_one_local_candidate()
    disable_bandwidth_estimation()
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(asyncio.run(_run(options)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fake_peers",
        description="Join a room with fake peers that take part in its call, in a mesh and through "
        "a proxied SFU. Each peer sends a picture with its number. Press Ctrl-C to stop.",
    )
    parser.add_argument(
        "--url", default="http://127.0.0.1:8000", help="URL of the site (default: %(default)s)"
    )
    parser.add_argument("--room", default="ABC123", help="room code (default: %(default)s)")
    parser.add_argument("-n", type=int, default=12, help="number of peers (default: %(default)s)")
    parser.add_argument(
        "--audio",
        type=int,
        default=0,
        metavar="N",
        help="number of peers that also send audio, a tone (default: %(default)s)",
    )
    parser.add_argument(
        "--fps", type=float, default=3.0, help="video frames per second (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, help="leave after this many seconds (default: stay)"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the state of each peer as one line of JSON, twice per second",
    )
    account = parser.add_argument_group(
        "authentication", "One of --demo, --token, or --username with --password is required."
    )
    account.add_argument(
        "--demo",
        type=Path,
        metavar="DIR",
        help="sign in as bob of the `make demo-sfu` with this data directory",
    )
    account.add_argument("--token", help="access token")
    account.add_argument("--username")
    account.add_argument("--password")
    return parser


async def _run(options: argparse.Namespace) -> int:
    """Run the peers until they are done; return the exit status."""
    peers: list[FakePeer] = []
    _stop_on_sigterm()
    try:
        get_token = _token_source(options)
        await get_token()
        for number in range(1, options.n + 1):
            peers.append(await _join(options, number, get_token))
            if not options.json:
                print(f"\rjoined {number}/{options.n}", end="", flush=True)
        print_status = _print_json if options.json else _StatusPrinter().print
        await _print_periodically(peers, options.seconds, print_status)
        return 0 if all(not peer.end_reason for peer in peers) else 1
    except (RequestRefused, ClientClosed, ConnectionLost, OSError, ValueError) as error:
        print(f"\n{_error_message(error, options)}", file=sys.stderr)
        return 1
    finally:
        await asyncio.gather(*(peer.close() for peer in peers))


def _stop_on_sigterm() -> None:
    """Handle SIGTERM like Ctrl-C: leave the room and close all connections."""
    task = asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError):  # on Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _join(options: argparse.Namespace, number: int, get_token: GetToken) -> FakePeer:
    socket = "ws" + options.url.removeprefix("http").rstrip("/") + "/ws/signalling/"
    peer = FakePeer(
        socket,
        options.room,
        number=number,
        fps=options.fps,
        audio=number <= options.audio,
        token=get_token,
        **({"proxy": None} if _is_local(options) else {}),
    )
    await peer.join()
    return peer


# --- Output ---------------------------------------------------------------------------------------


async def _print_periodically(
    peers: list[FakePeer], seconds: float | None, print_status: PrintStatus
) -> None:
    """Print the status until ``seconds`` have passed or all peers have left."""
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    while time.monotonic() < until and not all(peer.end_reason for peer in peers):
        print_status(peers)
        await asyncio.sleep(STATUS_SECONDS)


def _print_json(peers: list[FakePeer]) -> None:
    for peer in peers:
        print(json.dumps(peer.report()), flush=True)


class _StatusPrinter:
    """Prints a status line when it changes."""

    _printed = ""

    def print(self, peers: list[FakePeer]) -> None:
        status = _status(peers)
        if status != self._printed:
            print(status if self._printed else f"\n{status}", flush=True)
            self._printed = status


def _status(peers: list[FakePeer]) -> str:
    present = [peer for peer in peers if not peer.end_reason]
    modes = Counter(f"{peer.mode}{' (switching)' if peer.is_switching else ''}" for peer in present)
    paths = Counter(path or "no media yet" for peer in present for path in peer.paths().values())
    parts = [
        f"{len(present)} of {len(peers)} fake peers in the room",
        "mode: "
        + ", ".join(
            f"{mode} ({count})" if len(modes) > 1 else mode for mode, count in modes.items()
        ),
        "streams received: "
        + (", ".join(f"{count} ({path})" for path, count in sorted(paths.items())) or "none"),
    ]
    reasons = Counter(peer.end_reason for peer in peers if peer.end_reason)
    return " · ".join(parts + [f"{count} left: {reason}" for reason, count in reasons.items()])


def _error_message(error: Exception, options: argparse.Namespace) -> str:
    """Return an error message that suggests what to do."""
    match error:
        case HTTPError(code=401):
            return f"{options.url} rejected the username or the password."
        case URLError() | ConnectionError():
            return f"Cannot connect to {options.url}: {error}. Is the site running?"
        case RequestRefused(code="room_full"):
            return "The room is full and has no SFU. Run `make demo-sfu` instead of `make demo`."
        case RequestRefused(code="too_many_devices"):
            return "This user may have no more peers in a room: see the setting SEATS_PER_USER."
        case RequestRefused():
            return f"The server refused a request: {error}"
    return str(error)


# --- Authentication -------------------------------------------------------------------------------


def _token_source(options: argparse.Namespace) -> GetToken:
    """Return a function that returns an access token. Raises ``ValueError``."""
    if options.token:

        async def get_token() -> str:
            token: str = options.token
            return token

        return get_token
    return _Account(options.url, *_credentials(options)).get_token


class _Account:
    """An account of the site. Its access token is renewed from time to time."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._sign_in = partial(_sign_in, url, username, password)
        self._token = ""
        self._issued_at = -TOKEN_SECONDS
        self._lock = asyncio.Lock()

    async def get_token(self) -> str:
        async with self._lock:
            if time.monotonic() - self._issued_at > TOKEN_SECONDS:
                self._token = await asyncio.to_thread(self._sign_in)
                self._issued_at = time.monotonic()
        return self._token


def _is_local(options: argparse.Namespace) -> bool:
    return urlsplit(options.url).hostname in LOOPBACK


def _credentials(options: argparse.Namespace) -> tuple[str, str]:
    if options.demo:
        file = options.demo / "password-bob"
        if not file.exists():
            raise ValueError(f"There is no demo in {options.demo}: run `make demo-sfu` first.")
        return "bob", file.read_text()
    if options.username and options.password:
        return options.username, options.password
    raise ValueError("Authentication required: --demo, --token, or --username and --password.")


def _sign_in(url: str, username: str, password: str) -> str:
    """Return an access token."""
    body = json.dumps({"username": username, "password": password}).encode()
    request = Request(f"{url.rstrip('/')}/api/token/", body, {"Content-Type": "application/json"})  # noqa: S310
    with urlopen(request, timeout=10) as response:  # noqa: S310
        return str(json.load(response)["access"])


if __name__ == "__main__":
    main()
