"""``manage.py reap_participants``: ends what servers left behind that died. For cron, or by hand."""

from __future__ import annotations

from time import sleep
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from rooms import leases, resuming
from rooms.conf import conf


class Command(BaseCommand):
    help = (
        "Ends the memberships that servers left behind when they died. Running servers do so by "
        "themselves; this is for when none is running. It looks twice, some seconds apart: whoever "
        "renews its lease meanwhile is alive."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--wait",
            type=float,
            metavar="SECONDS",
            help="time between the two looks (default: two renewals of a lease)",
        )

    def handle(self, *args: Any, wait: float | None, **options: Any) -> None:
        wait = 2 * conf().lease_renewal if wait is None else wait
        watch = leases.LeaseMonitor(confirm_seconds=wait)
        suspects = [lease for lease in leases.read_all() if lease.is_expired]
        ended = 0
        if suspects:
            self.stdout.write(f"{len(suspects)} leases have run out; looking again in {wait:g} s …")
            watch.find_dead(suspects)
            sleep(wait)
            for lease in watch.find_dead(leases.read_all()):
                ended += leases.reap(lease)
        resuming.end_expired()
        self.stdout.write(self.style.SUCCESS(f"{ended} memberships of dead servers were ended."))
