from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, StorageState, expect, sync_playwright

from signalling_project import janus
from tests.browser.camera import write_video
from tests.browser.demo import Demo, serve
from tests.browser.person import Person

# Chromium obeys only the last list of features to disable, so this begins with Playwright's own. The
# three pop-ups of the address bar cost more than a page: each new context would load two of them. Nor
# does each page need a spare renderer for the next one.
DISABLED_FEATURES = [
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "OptimizationHints",
    "PaintHolding",
    "SpareRendererForSitePerProcess",
    "ThirdPartyStoragePartitioning",
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxFullPopup",
    "WebUIOmniboxPopup",
]
FLAGS = [
    f"--disable-features={','.join(DISABLED_FEATURES)}",
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--disable-background-networking",
]

Enter = Callable[..., Person]

expect.set_options(timeout=15_000)


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with serve(tmp_path_factory.mktemp("demo")) as demo:
        yield demo


@pytest.fixture(scope="package")
def sfu_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`make demo-sfu`. Without Janus, the test is skipped locally and fails in CI."""
    if not janus.is_installed():
        reason = "janus is not installed: sudo apt-get install --no-install-recommends janus"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    # Three pages reach the SFU within two seconds. One test waits until the time is over.
    settings = json.dumps({"SWITCH_SECONDS": 8})
    with serve(tmp_path_factory.mktemp("demo"), "demo-sfu", SIGNALLING=settings) as demo:
        yield demo
        demo.stop_janus()


# Package scope, not session scope: while Playwright's synchronous API is in use, its event loop runs
# in this thread, and other tests could not start one.
@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "Chromium is not installed"
        )
    return path


@pytest.fixture(scope="package")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command line of Chromium."""
    video = tmp_path_factory.mktemp("camera") / "camera.y4m"
    write_video(video)
    return [*FLAGS, f"--use-file-for-fake-video-capture={video}"]


@pytest.fixture(scope="package")
def browser(playwright: Playwright, chromium: str, flags: list[str]) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=chromium, args=flags)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def sign_ins(demo: Demo, browser: Browser) -> dict[str, StorageState]:
    """The cookies of each user, from one sign-in through the form."""
    return {username: sign_in(demo, browser, username) for username in demo.passwords}


def sign_in(demo: Demo, browser: Browser, username: str) -> StorageState:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{demo.url}/login/")
        page.get_by_label("User name").fill(username)
        page.get_by_label("Password").fill(demo.passwords[username])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="My rooms")).to_be_visible()
        return context.storage_state()


@pytest.fixture
def enter(demo: Demo, browser: Browser, sign_ins: dict[str, StorageState]) -> Iterator[Enter]:
    """Return a function that creates a signed-in person. Afterwards, check the pages for errors."""
    people: list[Person] = []

    def enter(username: str, *, browser: Browser = browser, **options: Any) -> Person:
        context = browser.new_context(storage_state=sign_ins[username], **options)
        people.append(Person(demo, username, context))
        return people[-1]

    yield enter
    for person in people:
        person.context.close()
    assert [error for person in people for error in person.errors] == []


@pytest.fixture
def room(demo: Demo) -> str:
    return demo.open_room()
