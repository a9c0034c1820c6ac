from django.urls import include, path

urlpatterns = [path("calls/", include("signalling.urls"))]
