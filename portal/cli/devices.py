"""`portal device`: machines that use the REST interface, and their keys."""

from datetime import datetime, timedelta
from typing import Any

import click

from portal import timestamps
from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.printing import Answer
from portal.devices import api_keys, devices
from portal.models import now

DEFAULT_DAYS = 365


@click.group("device")
def device() -> None:
    """Machines and programs that use the REST interface with a device API key."""


@device.command("add")
@click.argument("label")
@click.option("--type", "device_type", metavar="TYPE", help="connector or importer; the device may tell it later.")
@on_site
def add(label: str, device_type: str | None) -> Answer:
    """Add a device; it can do nothing before it has a key."""
    added = devices.add(label, device_type, actor=operator())
    return Answer(view=_view(added), message=f"Device {added.label} added. Next: portal device key")


@device.command("key")
@click.argument("label")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="When it stops working.")
@click.option("--days", type=click.IntRange(-(10**6), 10**6), metavar="N", help="In how many days. Default: 365.")
@on_site
def key(label: str, name: str, expires: datetime | None, days: int | None) -> Answer:
    """Issue a key with site-admin level access; its secret is shown this once."""
    if expires is not None and days is not None:
        raise click.UsageError("Give --expires or --days, not both")
    issued = api_keys.issue(devices.get(label), name=name, expires=_expiry(expires, days), actor=operator())
    view = {"key_id": issued.key_id, "secret": issued.secret, "expires_at": issued.expires_at}
    message = f"Key {issued.key_id} issued; it expires {issued.expires_at:%Y-%m-%d}."
    return Answer(view=view, message=f"{message}\nSecret, shown this once: {issued.secret}")


@device.command("list")
@on_site
def list_() -> Answer:
    """List the devices."""
    return Answer(
        view=[_view(row) for row in devices.list_all()],
        columns=("label", "type", "status", "last_seen", "last_address", "keys"),
        empty="No device yet. Add one with: portal device add",
    )


@device.command("disable")
@click.argument("label")
@on_site
def disable(label: str) -> Answer:
    """Refuse all keys of a device, without revoking them."""
    devices.disable(label, actor=operator())
    return Answer(view=_view(devices.get(label)), message=f"Device {label} disabled; its keys are refused.")


@device.command("enable")
@click.argument("label")
@on_site
def enable(label: str) -> Answer:
    """Accept the keys of a device again."""
    devices.enable(label, actor=operator())
    return Answer(view=_view(devices.get(label)), message=f"Device {label} enabled.")


@device.command("revoke")
@click.argument("label")
@click.argument("key_id")
@on_site
def revoke(label: str, key_id: str) -> Answer:
    """Revoke one key for good."""
    found = devices.get(label)
    api_keys.revoke(found, key_id, actor=operator())
    return Answer(view=_view(found), message=f"Key {key_id} of {label} revoked.")


def _expiry(expires: datetime | None, days: int | None) -> datetime:
    if expires is not None:
        return timestamps.parse(f"{expires:%Y-%m-%d}", field="expiry date")
    return now() + timedelta(days=DEFAULT_DAYS if days is None else days)


def _view(row: Any) -> dict[str, Any]:
    return devices.view(row)


commands = (device,)
