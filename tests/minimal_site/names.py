from typing import Any


def user_info(user: Any) -> dict[str, Any]:
    """Return a public name, and not the address that the user signs in with."""
    return {"username": f"Member {user.pk}"}
