from django.urls import path

from . import views

urlpatterns = [
    path("", views.appointments, name="appointments"),
    path("appointments/<uuid:pk>/", views.appointment, name="appointment"),
    path("appointments/<uuid:pk>/call/", views.call, name="call"),
]
