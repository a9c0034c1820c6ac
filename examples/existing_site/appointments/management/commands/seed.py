from django.core.management.base import BaseCommand

from accounts.models import User
from appointments.models import Appointment
from praxis.rooms.models import Room


class Command(BaseCommand):
    help = "Create a doctor, a patient, a third person, and an appointment of the first two."

    def handle(self, **options):
        doctor, patient, _ = (
            User.objects.create_user(email, "korrekte Pferde", full_name=name)
            for email, name in (
                ("doctor@example.org", "Dr. Ada Lovelace"),
                ("patient@example.org", "Grace Hopper"),
                ("stranger@example.org", "Mallory"),
            )
        )
        appointment = Appointment.objects.create(
            doctor=doctor,
            patient=patient,
            room=Room.objects.create(name="Zimmer 1"),
            starts_at="2027-01-04T09:00Z",
        )
        self.stdout.write(str(appointment.pk))
