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
        parser.add_argument("--code", help="the code you wish for; a random one is made otherwise")
        parser.add_argument("--name", default="", help="a name for people to read")
        parser.add_argument("--host", metavar="USERNAME", help="the user who hosts the room")
        parser.add_argument(
            "--topology",
            choices=Room.Topology.values,
            default=Room.Topology.AUTO,
            help="how media travel: in a mesh that an SFU relieves when it is full (auto, the "
            "default), always in a mesh, or through an SFU from the first peer on",
        )
        parser.add_argument(
            "--exist-ok", action="store_true", help="do nothing if a room has this code already"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host = self._user(options["host"]) if options["host"] else None
        try:
            room = services.open_room(
                host=host,
                name=options["name"],
                code=options["code"],
                topology=options["topology"],
            )
        except CodeTaken as refusal:
            if not (options["exist_ok"] and options["code"]):
                raise CommandError(str(refusal)) from refusal
            self.stdout.write(codes.normalise(options["code"]))
        except RoomError as refusal:
            raise CommandError(str(refusal)) from refusal
        else:
            self.stdout.write(room.code)

    def _user(self, username: str) -> Any:
        users = get_user_model()
        try:
            return users._default_manager.get_by_natural_key(username)
        except users.DoesNotExist as missing:
            raise CommandError(f"There is no user {username!r}.") from missing
