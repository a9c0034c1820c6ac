from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models

from . import codes
from .exceptions import CodeInvalid

if TYPE_CHECKING:  # generic for the type checker alone
    CharField = models.CharField[str, str]
else:
    CharField = models.CharField


class RoomCodeField(CharField):
    """A room code: whatever the case it is asked for in, it is stored and looked up in one form."""

    def clean(self, value: Any, model_instance: models.Model | None) -> str:
        try:
            value = codes.normalise(self.to_python(value) or "")
        except CodeInvalid as refusal:
            raise ValidationError(str(refusal)) from refusal
        cleaned: str = super().clean(value, model_instance)
        return cleaned

    def get_prep_value(self, value: Any) -> Any:
        prepared = super().get_prep_value(value)
        return prepared.strip().upper() if isinstance(prepared, str) else prepared

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = self.get_prep_value(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value
