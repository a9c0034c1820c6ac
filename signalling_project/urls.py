from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/token/", TokenObtainPairView.as_view(), name="token"),
    path("api/token/refresh/", TokenRefreshView.as_view(), name="token-refresh"),
    path("api/", include("rooms.api.urls")),
    path("", include("signalling.urls")),
]
if settings.API_SCHEMA:
    urlpatterns.append(path("api/schema/", SpectacularAPIView.as_view(), name="schema"))
