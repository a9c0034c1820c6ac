"""The call page from the result of `collectstatic`, with the storages that sites use for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Response, expect

from tests.browser.conftest import sign_in
from tests.browser.demo import ROOT, Demo
from tests.browser.person import Person
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site

WHITENOISE = "whitenoise.storage.CompressedManifestStaticFilesStorage"
WHITENOISE_MODULES = "tests.static_storages.CompressedModuleManifestStorage"
DJANGO_MODULES = "tests.static_storages.ModuleManifestStorage"

STORAGES = {
    "django": {"STATIC_STORAGE": DJANGO_MODULES, "KEEP_ONLY_HASHED_FILES": "off"},
    # Without support for modules, only the files that templates name are loaded by hashed names.
    "whitenoise": {"STATIC_STORAGE": WHITENOISE, "KEEP_ONLY_HASHED_FILES": "off"},
    "whitenoise-modules": {"STATIC_STORAGE": WHITENOISE_MODULES, "KEEP_ONLY_HASHED_FILES": "off"},
    "whitenoise-only-hashed": {
        "STATIC_STORAGE": WHITENOISE_MODULES,
        "KEEP_ONLY_HASHED_FILES": "on",
    },
}


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(make_site: MakeSite, storage: str, tmp_path: Path) -> Site:
    site = make_site(workers=0)
    site.environment |= STORAGES[storage]
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.browser.static_settings",
        "STATIC_ROOT": str(tmp_path / "static"),
    }
    # The pages do not use the files of these apps.
    ignored = ["--ignore", "admin", "--ignore", "rest_framework"]
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0", *ignored],
        cwd=ROOT,
        env=site.environment,
        check=True,
        timeout=60,
    )
    site.user("alice")
    site.start_worker("uvicorn")
    return site


@pytest.fixture
def alice(site: Site, browser: Browser) -> Iterator[Person]:
    demo = Demo(site.worker.http_url, {"alice": "alice"})
    with browser.new_context(storage_state=sign_in(demo, browser, "alice")) as context:
        yield Person(demo, "alice", context)


def test_the_call_page_works_with_collected_files(site: Site, storage: str, alice: Person) -> None:
    console: list[ConsoleMessage] = []
    responses: list[Response] = []
    # Playwright does not accept built-in methods such as `list.append`.
    alice.page.on("console", lambda message: console.append(message))
    alice.page.on("response", lambda response: responses.append(response))

    alice.join(site.room())
    expect(alice.tile("alice (you)")).to_be_visible()
    alice.button("Leave").click()
    expect(alice.button("Join")).to_be_visible()

    assert [response.url for response in responses if not response.ok] == []
    assert [message.text for message in console if message.type in {"error", "warning"}] == []
    assert alice.errors == []
    modules = {response.url.rpartition("/")[2] for response in responses if ".js" in response.url}
    assert len(modules) > 20
    if storage != "whitenoise":
        assert {name for name in modules if len(name.split(".")) != 3} == set()
