"""A login and a logout page, for sites without their own. ``signalling.urls`` does not need them."""

from django.contrib.auth import views as auth_views
from django.urls import path, reverse_lazy

from . import views
from .page_headers import secured

app_name = "signalling_login"

urlpatterns = [
    path(
        "login/",
        secured(
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
        secured(auth_views.LogoutView.as_view(next_page=reverse_lazy("signalling:home"))),
        name="logout",
    ),
]
