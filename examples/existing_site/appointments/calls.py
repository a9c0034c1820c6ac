from django.db.models import Q

from rooms import services

from .models import Appointment


def appointments_of(user):
    return Appointment.objects.filter(Q(doctor=user) | Q(patient=user))


def can_join(user, room):
    return appointments_of(user).filter(call=room).exists()


def open_call(appointment):
    if appointment.call is None:
        appointment.call = services.open_room(host=appointment.doctor, name=str(appointment))
        appointment.save()
    return appointment.call
