from django.urls import path

from . import views
from .worker import health

app_name = "signalling"

urlpatterns = [
    path("", views.home, name="home"),
    path("r/<str:code>/", views.call, name="call"),
    path(health.LIVE, health.live, name="live"),
    path(health.READY, health.ready, name="ready"),
]
