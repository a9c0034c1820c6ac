import uuid

from django.conf import settings
from django.db import models


class Appointment(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    doctor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    patient = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    room = models.ForeignKey("rooms.Room", models.PROTECT, null=True, blank=True)
    starts_at = models.DateTimeField()
    call = models.OneToOneField("signalling_rooms.Room", models.SET_NULL, null=True)

    def __str__(self):
        return f"Termin am {self.starts_at:%d.%m.%Y}"
