"""A browser without pages: it keeps cookies and posts forms."""

from __future__ import annotations

import asyncio
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from signalling.testing import SignallingCommunicator
from tests.integration.processes import START_TIMEOUT
from tests.integration.servers import Site


class Browser:
    """A browser in which a user has signed in. Its requests go to the first worker of a site."""

    def __init__(self, site: Site, username: str) -> None:
        self._site = site
        self._cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self._cookies))
        password = site.user(username).username
        self._get("/login/")
        self._post("/login/", {"username": username, "password": password})

    async def post(self, path: str, **form: object) -> None:
        """Post a form. The response must be a redirect, as after every success."""
        await asyncio.to_thread(self._post, path, form)

    def socket(self, worker: int) -> SignallingCommunicator:
        """Return a socket of a page of the site, which is not open yet."""
        cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)
        origin = self._site.workers[worker].http_url
        headers = [("Cookie", cookie)]
        return self._site.client(token=None, worker=worker, origin=origin, headers=headers)

    def _get(self, path: str) -> None:
        self._opener.open(self._site.worker.http_url + path, timeout=START_TIMEOUT).close()

    def _post(self, path: str, form: dict[str, object]) -> None:
        token = next(cookie.value for cookie in self._cookies if cookie.name == "csrftoken")
        url = self._site.worker.http_url + path
        data = urlencode({**form, "csrfmiddlewaretoken": token}, doseq=True).encode()
        with self._opener.open(url, data, timeout=START_TIMEOUT) as response:
            assert response.url != url, f"{path} was not accepted: {response.read()[:5000]!r}"
