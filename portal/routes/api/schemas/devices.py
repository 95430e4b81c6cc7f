"""Devices, what they report, and their keys."""

from typing import Annotated, Any

from pydantic import Field, RootModel

from portal.routes.api.schemas.containers import OriginShown
from portal.routes.api.schemas.values import Body, Id, Label, Moment, Shown, Timestamp


class DevicePath(Shown):
    device_id: Id


class KeyPath(DevicePath):
    key_id: str


class DeviceAdded(Body):
    label: Label
    type: Annotated[str | None, Field(description="connector, importer or reaper.")] = None


class DeviceChanged(Body):
    label: Label | None = None
    disabled: bool | None = None


class DeviceReport(Body):
    """What a device reports of itself; fields that are left out stay as they are."""

    type: Annotated[str | None, Field(description="connector, importer or reaper. It can be set once.")] = None
    version: str | None = None
    interval: Annotated[int | None, Field(description="Seconds between two reports.")] = None
    errors: Annotated[list[Any] | None, Field(description="Texts. They stay until another list is sent.")] = None
    info: dict[str, Any] | None = None


class KeyIssued(Body):
    label: Label
    expires_at: Timestamp | None = None


class KeyShown(Shown):
    label: str
    key: str = Field(description="The id of the key: the first characters of its secret.")
    state: str = Field(description="live, expires soon, expired or revoked.")
    created: Moment
    last_used: Moment | None
    expires_at: Moment


class NewKey(KeyShown):
    unencrypted_secret: str = Field(description="The key itself, shown this once.")


class DeviceShown(Shown):
    id: str = Field(alias="_id")
    label: str
    name: str
    type: str | None
    version: str | None
    errors: list[str]
    interval: int | None
    info: dict[str, Any]
    last_seen: Moment | None
    disabled: bool
    api_keys: list[KeyShown]
    created: Moment
    modified: Moment
    origin: OriginShown


class Devices(RootModel[list[DeviceShown]]):
    """Always a plain list."""


class DeviceStatus(Shown):
    status: str = Field(description="ok, missing, error or unknown.")
    last_seen: Moment | None
    errors: list[str] | None = None


class Statuses(RootModel[dict[str, DeviceStatus]]):
    """By the id of the device."""


class Deleted(Shown):
    """How many were deleted."""

    deleted: int
