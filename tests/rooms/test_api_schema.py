"""The OpenAPI schema of the REST API, and the API without drf-spectacular."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from rooms.api import schema as schema_module
from tests.conftest import access_token
from tests.rooms.test_api import KEYS


@pytest.fixture
def schema(bob: User) -> Any:
    """The schema that a signed-in user gets."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {access_token(bob)}")
    response = client.get("/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi+json")
    assert response.status_code == 200
    return response.json()


def test_the_schema_contains_every_endpoint(schema: Any) -> None:
    assert set(schema["paths"]) == {
        "/api/rooms/",
        "/api/rooms/{code}/",
        "/api/token/",
        "/api/token/refresh/",
    }
    assert schema["paths"]["/api/rooms/"]["get"]["security"][0] == {"jwtAuth": []}


def test_the_schema_contains_every_response(schema: Any) -> None:
    responses = schema["paths"]["/api/rooms/"]["post"]["responses"]
    assert set(responses) == {"201", "403", "409", "429"}
    responses = schema["paths"]["/api/rooms/{code}/"]["get"]["responses"]
    assert set(responses) == {"200", "403", "404", "410", "429"}


def test_a_room_in_the_schema_is_read_only(schema: Any) -> None:
    properties = schema["components"]["schemas"]["Room"]["properties"]
    assert set(properties) == KEYS
    assert all(field["readOnly"] for field in properties.values())


def test_the_views_work_without_drf_spectacular(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("drf_spectacular.utils", "drf_spectacular.contrib.rest_framework_simplejwt"):
        monkeypatch.setitem(sys.modules, name, None)
    spec = spec_from_file_location("schema_alone", schema_module.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = module_from_spec(spec)
    spec.loader.exec_module(alone)
    view = object()
    assert alone.extend_schema(responses={})(view) is view
