from django.apps import AppConfig


class RoomsConfig(AppConfig):
    name = "praxis.rooms"  # the label stays "rooms"; see docs/embedding.md
