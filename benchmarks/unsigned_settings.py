"""The example site without signatures in Redis, to measure what they cost."""

from typing import Any

from signalling_project.settings import *  # noqa: F403
from signalling_project.settings import CHANNEL_LAYERS

_layer: Any = CHANNEL_LAYERS["default"]
_layer["CONFIG"]["signing_keys"] = []
