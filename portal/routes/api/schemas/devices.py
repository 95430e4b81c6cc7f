"""Devices, what they report, and their keys."""

from typing import Annotated, Any

from pydantic import Field, RootModel

from portal.routes.api.schemas.containers import OriginShown
from portal.routes.api.schemas.lists import FARTHEST, MAX_LIMIT
from portal.routes.api.schemas.values import Body, Digits, Id, Label, Moment, Query, Shown, Timestamp

SPONSOR = (
    "E-mail address of its owner. Without it: the user who adds it, the owner of the device that adds it, or the only "
    "site admin."
)
NARROWED = "A limited key issues no other keys."


class DevicesQuery(Query):
    limit: Annotated[int | None, Digits(1, MAX_LIMIT), Field(description="The most devices to answer; else all.")] = (
        None
    )
    skip: Annotated[int | None, Digits(0, FARTHEST), Field(description="Devices to leave out at the start.")] = None


class DevicePath(Shown):
    device_id: Id


class KeyPath(DevicePath):
    key_id: str


class DeviceAdded(Body):
    label: Label
    type: Annotated[str | None, Field(description="connector, importer or reaper.")] = None
    sponsor: Annotated[str | None, Field(description=SPONSOR)] = None


class DeviceChanged(Body):
    label: Label | None = None
    sponsor: Annotated[str | None, Field(description="E-mail address of the user who becomes its owner.")] = None
    disabled: bool | None = None


class DeviceReport(Body):
    """What a device reports of itself; fields that are left out stay as they are."""

    type: Annotated[str | None, Field(description="connector, importer or reaper. It can be set once.")] = None
    version: str | None = None
    interval: Annotated[int | None, Field(description="Seconds between two reports.")] = None
    errors: Annotated[list[Any] | None, Field(description="Texts. They stay until another list is sent.")] = None
    info: dict[str, Any] | None = None


class KeyIssued(Body):
    """What a key issues expires with it at the latest."""

    label: Label
    expires_at: Timestamp | None = None
    read_only: Annotated[bool | None, Field(description=f"Whether every change is refused. {NARROWED}")] = None
    only: Annotated[
        str | None, Field(description=f"The group, or GROUP/PROJECT, to which it is limited. {NARROWED}")
    ] = None
    addresses: Annotated[
        list[str] | None,
        Field(description=f"Addresses and ranges from which it is accepted. {NARROWED}", max_length=50),
    ] = None


class KeyShown(Shown):
    label: str
    key: str = Field(description="The id of the key: the first characters of its secret.")
    state: str = Field(description="live, expires soon, expired or revoked.")
    created: Moment
    last_used: Moment | None
    expires_at: Moment
    read_only: bool
    only: str | None = Field(description="The group or GROUP/PROJECT to which it is limited, for site admins.")
    addresses: list[str]
    replaces: str | None = Field(description="The id of the key that it was rotated from.")


class NewKey(KeyShown):
    unencrypted_secret: str = Field(description="The key itself, shown this once.")


class DeviceShown(Shown):
    """For users who are no site admins, fields that are for site admins and devices are empty."""

    id: str = Field(alias="_id")
    label: str
    name: str
    type: str | None
    version: str | None
    errors: list[str] = Field(description="For site admins and devices.")
    interval: int | None
    info: dict[str, Any] = Field(description="For site admins and devices.")
    last_seen: Moment | None
    disabled: bool
    sponsor: str | None = Field(
        description="E-mail address of the user who is responsible for it, for site admins and devices."
    )
    api_keys: list[KeyShown] = Field(description="For site admins and devices.")
    created: Moment
    modified: Moment
    origin: OriginShown = Field(description="Its `id`, `via` and `name` are for site admins and devices.")


class Devices(RootModel[list[DeviceShown]]):
    """Always a plain list."""


class DeviceStatus(Shown):
    status: str = Field(description="ok, missing, error or unknown.")
    last_seen: Moment | None
    errors: list[str] | None = Field(default=None, description="For site admins and devices.")


class Statuses(RootModel[dict[str, DeviceStatus]]):
    """By the id of the device."""


class Deleted(Shown):
    """How many were deleted."""

    deleted: int
