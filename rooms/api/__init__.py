"""The REST API. It needs the extra ``jwt``, with Django REST framework and SimpleJWT."""

from rooms import extras

for module in ("rest_framework", "rest_framework_simplejwt"):
    extras.require(module, "jwt", "rooms.api, the REST API,")
