"""API keys of devices: issued, authenticated by a digest, revoked."""

import hmac
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

from portal import runtime
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.devices import key_format
from portal.errors import BadValue, Missing, NotSignedIn
from portal.models import ApiKey, Device, now, skip_if_disk_full, writing
from portal.tree import labels

log = logging.getLogger(__name__)

MAX_LIVE_KEYS = 5
LIVE_STATES = ("live", "expires soon")
"""States of a key that is accepted."""
DEFAULT_LIFETIME = timedelta(days=365)
MAX_LIFETIME = timedelta(days=732)
"""Two years, with a leap day and the rest of the last day."""
EXPIRY_NOTICE = timedelta(days=30)
ENDED_KEYS_LISTED = timedelta(days=365)
"""How long expired and revoked keys remain listed."""
_RECORD_INTERVAL = timedelta(minutes=1)
"""How often a key's use is recorded: a write would be the slowest part of a request."""

_NO_DIGEST = "0" * 64
"""Compared with where the key id is unknown, so that the time of an answer tells nothing."""
_INVALID = "Invalid API key. Copy the whole key again, or ask a site admin for a new one."


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """A new key; nothing can show the secret again."""

    key_id: str
    secret: str
    expires_at: datetime
    row: ApiKey


def issue(
    owner: Device,
    *,
    name: str,
    expires: datetime | None = None,
    read_only: bool = False,
    addresses: Sequence[str] = (),
    after: str | None = None,
    actor: Actor,
) -> IssuedKey:
    """A new key of a device, for a year by default. Raises BadValue, also if five keys are live.

    `after` is the id of the newest key when the form was opened, so that a form sent twice makes one key.
    """
    rights.require_admin(actor)
    name = labels.clean(name, field="name")
    expires, ranges = _checked_terms(expires, addresses)
    with writing():
        if after is not None and (latest := newest_id(owner)) not in ("", after):
            message = f"Key {latest} was created after this page was opened, so no other key was created."
            raise BadValue(f"{message} If nobody has stored it, revoke it and generate a key again.")
        if count_live(owner) >= MAX_LIVE_KEYS:
            raise BadValue(f"{owner.label} has {MAX_LIVE_KEYS} live keys, the maximum. Revoke one first.")
        while True:
            key_id, secret = key_format.generate()
            if not ApiKey.select().where(ApiKey.key_id == key_id).exists():
                break
        row = ApiKey.create(
            key_id=key_id,
            owner_type="device",
            owner_id=owner.id,
            name=name,
            hmac=_digest(secret),
            expires=expires,
            created_by=actor.name or actor.type,
            read_only=read_only,
            addresses=ranges,
        )
        audit.record(actor, "key:issued", "key", key_id, device=owner.label, name=name, expires=expires.isoformat())
    return IssuedKey(key_id=key_id, secret=secret, expires_at=expires, row=row)


def revoke(owner: Device, key_id: str, *, actor: Actor) -> None:
    """Refuse a key from now on. Raises Missing if the device has no such key."""
    rights.require_admin(actor)
    with writing():
        row: ApiKey | None = _keys_of(owner).where(ApiKey.key_id == key_id).get_or_none()
        if row is None:
            raise Missing(
                f"{owner.label} has no key {key_id[:20]!r}. Its keys begin with {key_format.PREFIX}.", field="key_id"
            )
        if row.revoked is None:
            ApiKey.update(revoked=now()).where(ApiKey.id == row.id).execute()
            audit.record(actor, "key:revoked", "key", key_id, device=owner.label)


def authenticate(secret: str, *, address: str, program: str) -> Actor:
    """The device whose key this is, recorded as seen. Raises NotSignedIn; the reason is told only to a valid key."""
    key_id = key_format.key_id_of(secret)
    if key_id is None:
        _refuse("of unknown format", address, _INVALID)
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.key_id == key_id, ApiKey.owner_type == "device")
    is_known = hmac.compare_digest(_digest(secret), row.hmac if row else _NO_DIGEST)
    if row is None or not is_known:
        _refuse(key_id, address, _INVALID)
    device: Device = Device.get_by_id(row.owner_id)
    if reason := _refusal_reason(row, device, address):
        _refuse(key_id, address, reason)

    moment = now()
    if row.last_used is None or moment - row.last_used >= _RECORD_INTERVAL:
        shown = "".join(character for character in program if character.isprintable())[:100]
        used = {"last_used": moment, "last_address": address, "last_program": shown}
        with skip_if_disk_full(f"a use of key {row.key_id}"), writing():
            ApiKey.update(used).where(ApiKey.id == row.id).execute()
            Device.update(last_seen=moment, last_address=address).where(Device.id == device.id).execute()
    return Actor(
        type="device",
        id=str(device.id),
        name=device.label,
        via=row.key_id,
        address=address,
        is_admin=True,
        read_only=row.read_only,
    )


def for_device(owner: Device) -> list[ApiKey]:
    """The keys of a device, newest first, without those that ended more than a year ago."""
    since = now() - ENDED_KEYS_LISTED
    listed = _keys_of(owner).where(ApiKey.expires > since, ApiKey.revoked.is_null() | (ApiKey.revoked > since))
    return list(listed.order_by(ApiKey.id.desc()))


def newest_id(owner: Device) -> str:
    """The id of the latest key; empty if there never was one."""
    row: ApiKey | None = _keys_of(owner).order_by(ApiKey.id.desc()).first()
    return "" if row is None else row.key_id


def count_live(owner: Device) -> int:
    return int(_keys_of(owner).where(is_live()).count())


def is_live() -> Any:
    """The SQL condition that a key is neither revoked nor expired."""
    return ApiKey.revoked.is_null() & (ApiKey.expires > now())


def state(row: ApiKey) -> str:
    """live | expires soon | expired | revoked."""
    left = row.expires - now()
    if row.revoked is not None:
        return "revoked"
    if left <= timedelta(0):
        return "expired"
    return "expires soon" if left <= EXPIRY_NOTICE else "live"


def view(row: ApiKey) -> dict[str, Any]:
    """One key for `--json` and pages; nothing of its secret."""
    return {
        "key_id": row.key_id,
        "name": row.name,
        "state": state(row),
        "created": row.created.isoformat(),
        "created_by": row.created_by,
        "expires_at": row.expires.isoformat(),
        "revoked": row.revoked and row.revoked.isoformat(),
        "last_used": row.last_used and row.last_used.isoformat(),
        "last_address": row.last_address,
        "last_program": row.last_program,
        "read_only": row.read_only,
        "addresses": row.addresses,
    }


def _keys_of(owner: Device) -> Any:
    return ApiKey.select().where(ApiKey.owner_type == "device", ApiKey.owner_id == owner.id)


def _checked_terms(expires: datetime | None, addresses: Sequence[str]) -> tuple[datetime, list[str]]:
    """The expiry and the address ranges of a new key. Raises BadValue."""
    moment = now()
    expires = moment + DEFAULT_LIFETIME if expires is None else expires
    if expires <= moment:
        raise BadValue("The expiry date is in the past. Choose a later one.", field="expires")
    if expires > moment + MAX_LIFETIME:
        raise BadValue("A key is valid for at most two years. Choose an earlier expiry date.", field="expires")
    ranges = []
    for text in addresses:
        try:
            ranges.append(str(ipaddress.ip_network(text, strict=False)))
        except ValueError as error:
            message = f"{text[:64]!r} is not an address range. Write it like 10.0.0.0/24."
            raise BadValue(message, field="addresses") from error
    return expires, ranges


def _digest(secret: str) -> str:
    return runtime.secrets().digest("api-key", secret)


def _refusal_reason(row: ApiKey, device: Device, address: str) -> str:
    """Why a key with the right secret is refused; empty if it is accepted."""
    if row.revoked is not None:
        return f"The key {row.key_id} was revoked. Ask a site admin for a new one."
    if row.expires <= now():
        return f"The key {row.key_id} expired on {row.expires:%Y-%m-%d}. Ask a site admin for a new one."
    if device.disabled:
        return f"The device {device.label} is disabled. Ask a site admin to enable it."
    if not row.addresses:
        return ""
    try:
        caller = ipaddress.ip_address(address)
        caller = getattr(caller, "ipv4_mapped", None) or caller
        is_allowed = any(caller in ipaddress.ip_network(text) for text in row.addresses)
    except ValueError:
        is_allowed = False
    return "" if is_allowed else f"The key {row.key_id} may not be used from {address}."


def _refuse(key: str, address: str, message: str) -> NoReturn:
    log.warning("key %s refused from %s", key, address)
    raise NotSignedIn(message)
