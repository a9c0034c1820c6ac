from django.contrib.auth.decorators import login_required
from django.shortcuts import get_object_or_404, redirect, render

from .calls import appointments_of, open_call


@login_required
def appointments(request):
    found = appointments_of(request.user).order_by("starts_at")
    return render(request, "appointments/appointments.html", {"appointments": found})


@login_required
def call(request, pk):
    appointment = get_object_or_404(appointments_of(request.user).select_for_update(), pk=pk)
    return redirect("signalling:call", open_call(appointment).code)


@login_required
def appointment(request, pk):
    appointment = get_object_or_404(appointments_of(request.user).select_for_update(), pk=pk)
    context = {"appointment": appointment, "room": open_call(appointment)}
    return render(request, "appointments/appointment.html", context)
