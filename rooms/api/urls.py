from django.urls import path

from . import views

app_name = "rooms"

urlpatterns = [
    path("rooms/", views.RoomListView.as_view(), name="list"),
    path("rooms/<str:code>/", views.RoomDetailView.as_view(), name="detail"),
]
