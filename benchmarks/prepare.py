"""Fills the benchmark's database with the schema, one user and many rooms.

Runs with the environment of the server. Prints one line of JSON: the user's token and the raised
limits.
"""

import json
import sys
from dataclasses import fields

import django
from django.core.management import call_command

ROOMS = 1_600  # with ten peers each: more than the largest case needs
UNLIMITED = 1_000_000_000


def main() -> None:
    django.setup()
    from django.contrib.auth import get_user_model
    from rest_framework_simplejwt.tokens import AccessToken

    from rooms.models import Room
    from signalling.conf import RATE_LIMITS, SignallingSettings

    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_user("bench")
    Room.objects.bulk_create(Room(code=f"BENCH-{number}", host=user) for number in range(ROOMS))
    # Limits are raised and not switched off: every check runs, and admits the load.
    names = [field.name.upper() for field in fields(SignallingSettings)]
    limits: dict[str, object] = {
        name: UNLIMITED
        for name in names
        if name.endswith(("_RATE", "_BURST")) or name.startswith("FLOOD_")
    }
    for name in ("FAILURE_LIMIT", "SEATS_PER_USER", "SOCKETS_PER_USER"):
        limits[name] = UNLIMITED
    both = [UNLIMITED, UNLIMITED]
    limits["RATE_LIMITS"] = {
        cost: dict.fromkeys(scopes, both) for cost, scopes in RATE_LIMITS.items()
    }
    sys.stdout.write(json.dumps({"token": str(AccessToken.for_user(user)), "limits": limits}))


if __name__ == "__main__":
    main()
