"""`portal device`: machines that use the REST interface, and their keys."""

from datetime import datetime, timedelta

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
@click.option("--type", "device_type", metavar="TYPE", help="connector or importer. The device may report it later.")
@on_site
def add(label: str, device_type: str | None) -> Answer:
    """Add a device. It has no access until it has a key."""
    added = devices.add(label, device_type, actor=operator())
    return Answer(view=devices.view(added), message=f"Device {added.label} added. Next: portal device key")


@device.command("key")
@click.argument("label")
@click.option("--name", required=True, help="The purpose of the key.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="The expiry date.")
@click.option("--days", type=click.IntRange(-(10**6), 10**6), metavar="N", help="Expire in N days. Default: 365.")
@on_site
def key(label: str, name: str, expires: datetime | None, days: int | None) -> Answer:
    """Create a key with site-admin access. The secret is shown only once."""
    if expires is not None and days is not None:
        raise click.UsageError("Use --expires or --days, not both")
    if expires is None:
        expires = now() + timedelta(days=DEFAULT_DAYS if days is None else days)
    else:
        expires = timestamps.parse(f"{expires:%Y-%m-%d}", field="expiry date")
    issued = api_keys.issue(devices.get(label), name=name, expires=expires, actor=operator())
    view = {"key_id": issued.key_id, "secret": issued.secret, "expires_at": issued.expires_at}
    message = f"Key {issued.key_id} created. It expires on {issued.expires_at:%Y-%m-%d}."
    return Answer(view=view, message=f"{message}\nSecret (shown only once): {issued.secret}")


@device.command("list")
@on_site
def list_() -> Answer:
    """List the devices."""
    return Answer(
        view=[devices.view(row) for row in devices.list_all()],
        columns=("label", "type", "status", "last_seen", "last_address", "keys"),
        empty="No devices yet. Add one with: portal device add",
    )


@device.command("disable")
@click.argument("label")
@on_site
def disable(label: str) -> Answer:
    """Refuse all keys of a device without revoking them."""
    devices.disable(label, actor=operator())
    return Answer(view=devices.view(devices.get(label)), message=f"Device {label} disabled. Its keys are refused.")


@device.command("enable")
@click.argument("label")
@on_site
def enable(label: str) -> Answer:
    """Accept the keys of a device again."""
    devices.enable(label, actor=operator())
    return Answer(view=devices.view(devices.get(label)), message=f"Device {label} enabled.")


@device.command("revoke")
@click.argument("label")
@click.argument("key_id")
@on_site
def revoke(label: str, key_id: str) -> Answer:
    """Revoke a key permanently."""
    row = devices.get(label)
    api_keys.revoke(row, key_id, actor=operator())
    return Answer(view=devices.view(row), message=f"Key {key_id} of {label} revoked.")


commands = (device,)
