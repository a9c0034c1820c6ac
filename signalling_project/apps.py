from django.apps import AppConfig


class SignallingProjectConfig(AppConfig):
    name = "signalling_project"
