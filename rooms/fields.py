from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from . import codes
from .exceptions import CodeInvalid


class RoomCodeField(models.CharField):
    """A room code, stored and looked up in the form of ``codes.normalise``, regardless of case.

    Saving a malformed code raises ``CodeInvalid``, also through ``update`` and ``bulk_create``,
    so every stored code is valid.
    """

    def clean(self, value: Any, model_instance: models.Model | None) -> str:
        try:
            value = codes.normalise(self.to_python(value) or "")
        except CodeInvalid as error:
            raise ValidationError(str(error)) from error
        cleaned: str = super().clean(value, model_instance)
        return cleaned

    def get_prep_value(self, value: Any) -> Any:
        prepared = super().get_prep_value(value)
        return codes.fold(prepared) if isinstance(prepared, str) else prepared

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if not hasattr(value, "as_sql"):
            value = codes.normalise(self.to_python(value) or "")
        return super().get_db_prep_save(value, connection)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = codes.normalise(self.to_python(super().pre_save(model_instance, add)) or "")
        setattr(model_instance, self.attname, value)
        return value
