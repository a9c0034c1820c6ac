from __future__ import annotations

from django.apps import apps
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from pytest_django import Settings


def test_the_migrations_make_the_tables_of_the_models(settings: Settings) -> None:
    settings.MIGRATION_MODULES = {}  # also with ``pytest --nomigrations``
    loader = MigrationLoader(None)
    made, wanted = loader.project_state(), ProjectState.from_apps(apps)
    changes = MigrationAutodetector(made, wanted).changes(
        loader.graph, trim_to_apps={"signalling_rooms"}
    )
    migrations = [migration for found in changes.values() for migration in found]
    assert [step.describe() for migration in migrations for step in migration.operations] == []
