from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from rooms import codes, services
from rooms.exceptions import CodeTaken, RoomError
from rooms.models import Room


class Command(BaseCommand):
    help = "Open a room and print its code."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--code", help="code of the room (default: a random code)")
        parser.add_argument("--name", default="", help="display name of the room")
        parser.add_argument(
            "--host", metavar="USERNAME", help="user name of the host (default: no host)"
        )
        parser.add_argument(
            "--topology",
            choices=Room.Topology.values,
            default=Room.Topology.AUTO,
            help="how media travels: in a mesh, and through an SFU when the mesh is full (auto, "
            "the default); always in a mesh (mesh); or always through an SFU (sfu)",
        )
        parser.add_argument(
            "--exist-ok", action="store_true", help="succeed if a room with this code exists"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host = self._user(options["host"]) if options["host"] else None
        try:
            room = services.open_room(
                host=host,
                name=options["name"],
                code=options["code"],
                topology=options["topology"],
                unlimited=True,
            )
        except CodeTaken as error:
            if not (options["exist_ok"] and options["code"]):
                raise CommandError(str(error)) from error
            self.stdout.write(codes.normalise(options["code"]))
        except RoomError as error:
            raise CommandError(str(error)) from error
        else:
            self.stdout.write(room.code)

    def _user(self, username: str) -> Any:
        users = get_user_model()
        try:
            return users._default_manager.get_by_natural_key(username)
        except users.DoesNotExist as missing:
            raise CommandError(f"There is no user {username!r}.") from missing
