from django.contrib.auth import views as auth_views
from django.urls import path, reverse_lazy

from . import views
from .worker import health

app_name = "signalling"

urlpatterns = [
    path("", views.home, name="home"),
    path("r/<str:code>/", views.call, name="call"),
    path("health/live/", health.live, name="live"),
    path("health/ready/", health.ready, name="ready"),
    path(
        "login/",
        views.secured(
            views.LoginView.as_view(
                template_name="signalling/login.html",
                redirect_authenticated_user=True,
                next_page=reverse_lazy("signalling:home"),
            )
        ),
        name="login",
    ),
    path(
        "logout/",
        views.secured(auth_views.LogoutView.as_view(next_page=reverse_lazy("signalling:home"))),
        name="logout",
    ),
]
