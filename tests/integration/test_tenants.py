"""The function in docs/embedding.md that gives each tenant a schema of PostgreSQL."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection
from pytest_django import DjangoDbBlocker

from tests.documents import section
from tests.integration.database import default_database
from tests.integration.stores import PostgreSQL

TENANTS = ("north", "south")


def test_each_tenant_has_its_schema_and_shares_the_public_one(
    postgresql: PostgreSQL, empty_postgresql: str, django_db_blocker: DjangoDbBlocker
) -> None:
    example = re.search(
        r"```python\n# myproject/tenants\.py\n(.*?)```",
        section("docs/embedding.md", "Tenants"),
        re.DOTALL,
    )
    assert example is not None
    names: dict[str, Any] = {}
    exec(example[1], names)

    def at(tenant: str) -> AbstractContextManager[None]:
        host = f"{tenant}.example.org:8000".encode()
        context: AbstractContextManager[None] = names["context"]({"headers": [(b"host", host)]})
        return context

    url = postgresql.create("tenants", empty_postgresql)
    with django_db_blocker.unblock(), default_database(url):
        with connection.cursor() as cursor:
            for tenant in TENANTS:
                cursor.execute(f"CREATE SCHEMA {tenant}")
                like = "(LIKE public.auth_group INCLUDING ALL)"
                cursor.execute(f"CREATE TABLE {tenant}.auth_group {like}")
        for tenant in TENANTS:
            with at(tenant):
                Group.objects.create(name=tenant)
                assert not Group.objects.exclude(name=tenant).exists()
                assert "signalling_rooms_room" in connection.introspection.table_names()
        assert not Group.objects.exists()
