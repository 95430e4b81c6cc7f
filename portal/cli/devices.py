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
@click.option("--owner", metavar="EMAIL", help="The user who is responsible for it. Default: the only site admin.")
@on_site
def add(label: str, device_type: str | None, owner: str | None) -> Answer:
    """Add a device. It has no access until it has a key."""
    added = devices.add(label, device_type, owner=owner, actor=operator())
    return Answer(view=devices.view(added), message=f"Device {added.label} added. Next: portal device key")


@device.command("key")
@click.argument("label")
@click.option("--name", required=True, help="The purpose of the key.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="The expiry date.")
@click.option("--days", type=click.IntRange(-(10**6), 10**6), metavar="N", help="Expire in N days. Default: 365.")
@click.option("--read-only", is_flag=True, help="Refuse every change with this key.")
@click.option("--only", default="", metavar="GROUP[/PROJECT]", help="Limit the key to a group or a project.")
@click.option(
    "--address", "addresses", multiple=True, metavar="CIDR", help="Accept the key from here only; repeatable."
)
@on_site
def key(
    label: str,
    name: str,
    expires: datetime | None,
    days: int | None,
    read_only: bool,
    only: str,
    addresses: tuple[str, ...],
) -> Answer:
    """Create a key, with site-admin access unless it is limited. The secret is shown only once."""
    issued = api_keys.issue(
        devices.get(label),
        name=name,
        expires=_expiry(expires, days),
        read_only=read_only,
        only=only,
        addresses=addresses,
        actor=operator(),
    )
    return _issued(issued)


@device.command("rotate")
@click.argument("label")
@click.argument("key_id")
@click.option("--name", help="The purpose of the new key. Default: that of the old one.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="The expiry date.")
@click.option("--days", type=click.IntRange(-(10**6), 10**6), metavar="N", help="Expire in N days. Default: 365.")
@on_site
def rotate(label: str, key_id: str, name: str | None, expires: datetime | None, days: int | None) -> Answer:
    """Create a key with the same access as an existing one, which is accepted until it is revoked."""
    row = devices.get(label)
    chosen = api_keys.get(row, key_id).name if name is None else name
    return _issued(api_keys.rotate(row, key_id, name=chosen, expires=_expiry(expires, days), actor=operator()))


@device.command("list")
@on_site
def list_() -> Answer:
    """List the devices."""
    return Answer(
        view=devices.views(devices.list_all()),
        columns=("label", "type", "status", "last_seen", "last_address", "keys", "sponsor"),
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


@device.command("owner")
@click.argument("label")
@click.argument("email")
@on_site
def owner(label: str, email: str) -> Answer:
    """Name the user who is responsible for a device."""
    changed = devices.change_owner(label, email, actor=operator())
    view = devices.view(changed)
    return Answer(view=view, message=f"{view['sponsor']} is the owner of {changed.label}.")


@device.command("remove")
@click.argument("label")
@on_site
def remove(label: str) -> Answer:
    """Remove a device and revoke its keys. What it uploaded stays, with its name."""
    row = devices.get(label)
    devices.remove(row.id, actor=operator())
    return Answer(view={"label": row.label}, message=f"Device {row.label} removed. Its keys are revoked.")


def _expiry(expires: datetime | None, days: int | None) -> datetime:
    if expires is not None and days is not None:
        raise click.UsageError("Use --expires or --days, not both")
    if expires is None:
        return now() + timedelta(days=DEFAULT_DAYS if days is None else days)
    return timestamps.parse(f"{expires:%Y-%m-%d}", field="expiry date")


def _issued(issued: api_keys.IssuedKey) -> Answer:
    view = {"key_id": issued.key_id, "secret": issued.secret, "expires_at": issued.expires_at}
    message = f"Key {issued.key_id} created. It expires on {issued.expires_at:%Y-%m-%d}."
    return Answer(view=view, message=f"{message}\nSecret (shown only once): {issued.secret}")


commands = (device,)
