from typing import Any

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from rooms.api.throttling import TokenRateThrottle

throttled: Any = {"throttle_classes": [TokenRateThrottle]}

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/token/", TokenObtainPairView.as_view(**throttled), name="token"),
    path("api/token/refresh/", TokenRefreshView.as_view(**throttled), name="token-refresh"),
    path("api/", include("rooms.api.urls")),
    path("", include("signalling.urls")),
    path("", include("signalling.login_urls")),
]
if settings.API_SCHEMA:
    urlpatterns.append(path("api/schema/", SpectacularAPIView.as_view(), name="schema"))
