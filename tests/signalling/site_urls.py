"""URLs of a site that mounts the call pages alone."""

from django.urls import include, path

urlpatterns = [path("calls/", include("signalling.urls"))]
