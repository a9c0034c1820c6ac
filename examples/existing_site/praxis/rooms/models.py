from django.db import models


class Room(models.Model):
    """A treatment room."""

    name = models.CharField(max_length=100)

    def __str__(self):
        return self.name
