from django.urls import include, path

urlpatterns = [
    path("calls/", include("signalling.urls")),
    path("calls/", include("signalling.login_urls")),
]
