"""The wheel works in an environment without any extra."""

from __future__ import annotations

from pathlib import Path

from tests.wheels import Environment

USE = Path(__file__).parent / "session_only_site" / "use.py"


def test_a_site_without_extras_identifies_its_users_by_their_sessions(
    wheel: Path, tmp_path: Path
) -> None:
    environment = Environment(tmp_path / "venv", wheel)
    assert environment.installed == {
        *("django-signalling", "django", "asgiref", "sqlparse", "channels", "msgspec"),
    }
    assert environment.run(str(USE), cwd=tmp_path).endswith("It runs.\n")
