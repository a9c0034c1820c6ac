"""Two people take part in an appointment's call on an ordinary site that has installed the wheel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, expect

from tests.browser.demo import Demo
from tests.browser.existing_site import PASSWORD, SERVERS, ExistingSite
from tests.browser.person import Person


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> ExistingSite:
    return ExistingSite(tmp_path_factory.mktemp("existing"), wheel)


@pytest.fixture(scope="module")
def contexts(site: ExistingSite, browser: Browser) -> Iterator[dict[str, BrowserContext]]:
    """The profiles of people. They sign in at the first server; the others have the same database."""
    contexts = {name: browser.new_context() for name in ("doctor", "patient")}
    yield contexts
    for context in contexts.values():
        context.close()


def visit(url: str, name: str, contexts: dict[str, BrowserContext], path: str) -> Person:
    """Open a page as a person, who signs in on the site's own page if that is necessary."""
    person = Person(Demo(url, {}), name, contexts[name])

    def note(line: ConsoleMessage) -> None:
        if line.type == "error":
            person.errors.append(f"{line.text} {line.location}")

    person.page.on("console", note)
    person.page.goto(url + path)
    if "/login/" in person.page.url:
        person.page.locator("[name=username]").fill(f"{name}@example.org")
        person.page.locator("[name=password]").fill(PASSWORD)
        person.page.get_by_role("button", name="Anmelden").click()
        expect(person.page.locator("[data-call]")).to_be_visible()
    return person


def probe(url: str, name: str) -> int:
    """Return the status of a health check, which names a pod as its host."""
    request = Request(f"{url}/calls/health/{name}/", headers={"Host": "10.1.2.3:8000"})
    with urlopen(request, timeout=30) as response:
        return int(response.status)


def join(person: Person) -> None:
    person.page.locator("[data-do=join]").click()
    expect(person.page.locator("[data-do=leave]")).to_be_visible()


@pytest.mark.parametrize("server", SERVERS)
def test_two_people_take_part_in_the_call_of_an_appointment(
    site: ExistingSite, contexts: dict[str, BrowserContext], server: str
) -> None:
    with site.serve(server) as url:
        assert [probe(url, name) for name in ("live", "ready")] == [200, 200]
        # The doctor is on our page, and the patient on a page of the site that contains the call.
        page = f"/appointments/{site.appointment}/"
        doctor = visit(url, "doctor", contexts, f"{page}call/")
        patient = visit(url, "patient", contexts, page)
        people = [doctor, patient]
        for person in people:
            join(person)
        for person in people:
            person.wait_for_media(1)
        for person in people:
            person.page.locator("[data-do=leave]").click()
            person.page.close()
        assert [error for person in people for error in person.errors] == []


def test_the_tests_of_the_site_use_our_fixture(site: ExistingSite) -> None:
    assert "3 passed" in site.test()
