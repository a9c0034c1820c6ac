"""A user with a browser profile and one page, and helpers to inspect the page."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.demo import Demo

T = TypeVar("T")

# The video frames and audio packets received from each peer on the path that it is shown from.
RECEIVED = """async () => {
  const {room} = document.querySelector("[data-call]").call;
  const received = {};
  for (const {id, path, stream} of room.participants.values()) {
    received[id] = {frames: 0, packets: 0};
    const theirs = new Set(stream.getTracks().map((track) => track.id));
    const connections = path === "sfu" ? room.sfu?.connections : [room.peers.get(id)?.pc];
    for (const pc of connections ?? []) {
      for (const report of (await pc?.getStats())?.values() ?? []) {
        if (report.type !== "inbound-rtp" || !theirs.has(report.trackIdentifier)) continue;
        if (report.kind === "video") received[id].frames += report.framesDecoded;
        else received[id].packets += report.packetsReceived;
      }
    }
  }
  return received;
}"""


def eventually(check: Callable[[], T], *, timeout: float = 20) -> T:
    """Poll until ``check`` returns a true value, and return it. The page's CSP does not allow eval."""
    deadline = time.monotonic() + timeout
    while not (value := check()):
        assert time.monotonic() < deadline, f"still {value!r} after {timeout} s"
        time.sleep(0.05)
    return value


class Person:
    def __init__(self, demo: Demo, username: str, context: BrowserContext) -> None:
        self.demo = demo
        self.username = username
        self.context = context
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def join(self, code: str, *, microphone: bool = True, camera: bool = True) -> Person:
        self.ask_to_join(code, microphone=microphone, camera=camera)
        expect(self.button("Leave")).to_be_visible()
        return self

    def ask_to_join(self, code: str, *, microphone: bool = True, camera: bool = True) -> None:
        self.page.goto(f"{self.demo.url}/r/{code}/")
        self.page.get_by_label("Microphone").set_checked(microphone)
        self.page.get_by_label("Camera").set_checked(camera)
        self.button("Join").click()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def tile(self, name: str) -> Locator:
        return self.page.get_by_role("figure", name=name, exact=True)

    @property
    def tiles(self) -> Locator:
        return self.page.get_by_role("figure")

    @property
    def alert(self) -> Locator:
        return self.page.get_by_role("alert")

    def received(self) -> dict[str, dict[str, int]]:
        received: dict[str, dict[str, int]] = self.page.evaluate(RECEIVED)
        return received

    def wait_for_media(self, others: int, *, frames: bool = True, packets: bool = True) -> None:
        """Wait until media keeps arriving from this many peers."""
        wanted = [
            kind for kind, is_wanted in (("frames", frames), ("packets", packets)) if is_wanted
        ]
        before = eventually(lambda: self._all_of(others))
        eventually(
            lambda: all(
                now[kind] >= before.get(peer, {}).get(kind, 0) + 5
                for peer, now in self._all_of(others).items()
                for kind in wanted
            )
        )

    def _all_of(self, others: int) -> dict[str, dict[str, int]]:
        received = self.received()
        return received if len(received) == others else {}

    def call(self, expression: str) -> Any:
        """Evaluate JavaScript with the page's controller as ``call``."""
        return self.page.evaluate(
            f"async () => {{const {{call}} = document.querySelector('[data-call]'); return {expression};}}"
        )
