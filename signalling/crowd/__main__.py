"""``python -m signalling.crowd``: fill a room with fake peers, and say how they see each other."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from signalling.client import Closed, Refused

from .line import estimate_nothing, stay_on_this_machine
from .peer import CrowdPeer

EXAMPLES = """\
examples:
  make crowd N=12                            into the room of `make demo-sfu`
  python -m signalling.crowd --url https://calls.example.org --room ABC123 -n 3 --username bob --password …

Each peer shows its number on a colour of its own. In a mesh they are at most ten together with you.
"""
SOCKET_PATH, TOKEN_PATH = "/ws/signalling/", "/api/token/"
REPORT_SECONDS = 0.5


def main() -> None:
    options = _parser().parse_args()
    estimate_nothing()
    if _is_loopback(options.url):
        stay_on_this_machine()
    with suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(_run(options)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m signalling.crowd",
        description="Fill a call room with headless fake peers that send and receive real media.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option(
        "--url", default="http://127.0.0.1:8000", help="the site, or its WebSocket (%(default)s)"
    )
    option("--room", default="ABC123", help="the code of the room (%(default)s)")
    option("-n", type=int, default=3, metavar="N", help="how many peers (%(default)s)")
    option("--username", default="bob", help="whose peers they are (%(default)s)")
    option("--password", help="the password of that user")
    option("--password-file", type=Path, metavar="FILE", help="a file that holds the password")
    option("--token", help="an access token, instead of a name and a password")
    option("--audio", type=int, default=0, metavar="N", help="how many can be heard (%(default)s)")
    option("--fps", type=float, default=5.0, help="pictures per second of each (%(default)s)")
    option("--seconds", type=float, help="leave after so long, instead of with Ctrl-C")
    option("--json", action="store_true", help="say what each peer sees, as a line of JSON each")
    return parser


async def _run(options: argparse.Namespace) -> int:
    """Return the exit code: 0 if everybody came in."""
    peers = [_peer(options, number) for number in range(1, options.n + 1)]
    reporting = asyncio.create_task(_report_as_json(peers) if options.json else _report(peers))
    try:
        async with asyncio.timeout(options.seconds):
            await _all_join(peers, quiet=options.json)
            await _all_end(peers)
    except TimeoutError:
        return 0
    except (Refused, Closed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        reporting.cancel()
        await asyncio.gather(*(peer.close() for peer in peers))
    return 1


def _peer(options: argparse.Namespace, number: int) -> CrowdPeer:
    is_local, has_audio = _is_loopback(options.url), number <= options.audio
    return CrowdPeer(
        _socket_url(options.url),
        options.room,
        number=number,
        fps=options.fps,
        audio=has_audio,
        token=options.token or _signs_in(options),
        **({"proxy": None} if is_local else {}),
    )


async def _all_join(peers: Sequence[CrowdPeer], *, quiet: bool) -> None:
    for count, peer in enumerate(peers, 1):
        await peer.join()
        if not quiet:
            print(f"joined {count}/{len(peers)}", flush=True)


async def _all_end(peers: Sequence[CrowdPeer]) -> None:
    """Return when the last one was put out of the room."""
    for peer in peers:
        await peer.ended.wait()
    print("Everybody was put out of the room:", Counter(peer.end for peer in peers))


async def _report(peers: Sequence[CrowdPeer]) -> None:
    """Say what has changed, for a person."""
    before = ""
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        said = _summary([peer for peer in peers if peer.peer_id])
        if said != before:
            before = said
            print(said, flush=True)


def _summary(peers: Sequence[CrowdPeer]) -> str:
    modes = {f"{peer.mode} (version {peer.version})" for peer in peers if not peer.end}
    lines = [f"mode {' and '.join(sorted(modes)) or 'unknown'}"]
    views = Counter(_view(peer) for peer in peers)
    lines += [f"  {count} x {view}" for view, count in sorted(views.items())]
    return "\n".join(lines)


def _view(peer: CrowdPeer) -> str:
    if peer.end:
        return f"put out: {peer.end}"
    shown = list(peer.paths().values())
    by = [f"{shown.count(path)} by the {path}" for path in ("mesh", "sfu") if path in shown]
    return f"sees {' and '.join(by) or 'nobody'} of {len(shown)}"


async def _report_as_json(peers: Sequence[CrowdPeer]) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        for peer in peers:
            if peer.peer_id:
                print(json.dumps(peer.report()), flush=True)


def _signs_in(options: argparse.Namespace) -> Callable[[], Awaitable[str]]:
    """Return what fetches an access token, each time anew: they are short-lived."""
    address = urlsplit(options.url)
    scheme = {"ws": "http", "wss": "https"}.get(address.scheme, address.scheme)
    password = options.password or (options.password_file and options.password_file.read_text())
    body = json.dumps({"username": options.username, "password": (password or "").strip()})
    headers = {"Content-Type": "application/json"}
    request = Request(f"{scheme}://{address.netloc}{TOKEN_PATH}", body.encode(), headers)  # noqa: S310

    def ask() -> str:
        with urlopen(request, timeout=10) as response:  # noqa: S310
            return str(json.load(response)["access"])

    return lambda: asyncio.to_thread(ask)


def _socket_url(url: str) -> str:
    address = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(address.scheme, address.scheme)
    path = address.path if address.path.strip("/") else SOCKET_PATH
    return address._replace(scheme=scheme, path=path).geturl()


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main()
