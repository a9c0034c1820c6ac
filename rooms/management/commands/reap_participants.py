"""``manage.py reap_participants``: end the memberships of dead servers, by hand or from cron."""

from __future__ import annotations

from time import sleep
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from rooms import leases, resuming
from rooms.conf import conf


class Command(BaseCommand):
    help = (
        "End the memberships of servers that died. Running servers do this themselves; use this "
        "command when no server is running. It reads the leases twice, some seconds apart, and "
        "skips servers that renew their lease in between."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--wait",
            type=float,
            metavar="SECONDS",
            help="time between the two reads (default: twice LEASE_RENEWAL)",
        )

    def handle(self, *args: Any, wait: float | None, **options: Any) -> None:
        wait = 2 * conf().lease_renewal if wait is None else wait
        monitor = leases.LeaseMonitor(confirm_seconds=wait)
        suspects = [lease for lease in leases.read_all() if lease.is_expired]
        ended = 0
        if suspects:
            self.stdout.write(f"{len(suspects)} expired leases; reading them again in {wait:g} s …")
            monitor.find_dead(suspects)
            sleep(wait)
            for lease in monitor.find_dead(leases.read_all()):
                ended += leases.reap(lease)
        resuming.end_expired()
        self.stdout.write(self.style.SUCCESS(f"Ended {ended} memberships of dead servers."))
