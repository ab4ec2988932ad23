"""Changing some fields of a frozen dataclass by name, from JSON or from `name=value` texts."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import msgspec

from infobip_exporter.errors import ExporterError
from infobip_sandbox.access import AccessRules
from infobip_sandbox.faults import Faults
from infobip_sandbox.quirks import Quirks
from infobip_sandbox.traffic import Traffic

Settings = TypeVar("Settings", Traffic, Quirks, Faults, AccessRules)


class SettingError(ExporterError):
    """A setting that there is not, or a value that it does not take."""


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """`settings` with `changes`, whose values may be texts. Raises SettingError."""
    known = [field.name for field in fields(settings)]
    for name in changes:
        if name not in known:
            raise SettingError(f"{name}: there are only {', '.join(known)}")
    values = msgspec.to_builtins(settings)
    try:
        return msgspec.convert({**values, **changes}, type(settings), strict=False)
    except msgspec.ValidationError as error:
        raise SettingError(str(error)) from error
