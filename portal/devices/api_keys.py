"""Device API keys: issued once, recognised by a digest, revoked."""

import contextlib
import hmac
import ipaddress
import logging
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

from portal import runtime
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, NotSignedIn
from portal.models import ApiKey, Device, now, skip_if_disk_full, writing
from portal.tree import labels

log = logging.getLogger(__name__)

KEY_LENGTH = 57
"""Characters of a whole key; clients tell by it that they have to send `Bearer` (fw-client 2.3)."""
MAX_LIVE_KEYS = 5
LIVE_STATES = ("live", "expires soon")
"""States of a key that is good."""
DEFAULT_LIFETIME = timedelta(days=365)
MAX_LIFETIME = timedelta(days=732)
"""Two years, with a leap day and the rest of the last day."""
EXPIRY_NOTICE = timedelta(days=30)
ENDED_KEYS_LISTED = timedelta(days=365)
"""How long expired and revoked keys stay in the list."""
_NOTED_EACH = timedelta(minutes=1)
"""How often a key's use is written down: a write for each request would be the slowest part of it."""

_PREFIX = "ptk_"
_ID_SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, U
_SIGNS = string.digits + string.ascii_letters
_ID_LENGTH, _SECRET_LENGTH, _CHECK_LENGTH = 6, 41, 6
_FORM = re.compile(rf"({_PREFIX}[{_ID_SIGNS}]{{{_ID_LENGTH}}})[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECK_LENGTH}}}")
_NOBODYS = "0" * 64
_UNKNOWN = "This is no key of this site. Copy the whole key again, or ask a site admin for a new one."


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
    """A new key of a device, for a year unless told otherwise. Raises BadValue, also where five are live.

    `after` is the key that was the `newest` when it was asked for: where it is not any more, the same was asked twice.
    """
    rights.require_admin(actor)
    name, moment = labels.clean(name, field="name"), now()
    expires = _expiry(moment + DEFAULT_LIFETIME if expires is None else expires, moment)
    ranges = [_range(text) for text in addresses]
    with writing():
        if after is not None and (made := newest_id(owner)) not in ("", after):
            raise BadValue(
                f"Key {made} was made since this page was opened, so no other one was made now. Revoke it if nobody has"
                " stored it, and generate a key again."
            )
        if count_live(owner) >= MAX_LIVE_KEYS:
            raise BadValue(f"{owner.label} has {MAX_LIVE_KEYS} live keys, the most there may be. Revoke one first.")
        key_id, secret = _generate()
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
    """Refuse a key from now on; a revoked one stays as it is. Raises Missing where the device has no such key."""
    rights.require_admin(actor)
    with writing():
        row: ApiKey | None = _of(owner).where(ApiKey.key_id == key_id).get_or_none()
        if row is None:
            raise Missing(f"{owner.label} has no key {key_id[:20]!r}. Its keys begin with {_PREFIX}.", field="key_id")
        if row.revoked is None:
            ApiKey.update(revoked=now()).where(ApiKey.id == row.id).execute()
            audit.record(actor, "key:revoked", "key", key_id, device=owner.label)


def authenticate(secret: str, *, address: str, program: str) -> Actor:
    """The device whose key this is, noted as seen. Raises NotSignedIn; only who has the whole key is told why."""
    form = _FORM.fullmatch(secret)
    if form is None or secret[-_CHECK_LENGTH:] != _check_digits(secret[:-_CHECK_LENGTH]):
        _refuse("of no known form", address, _UNKNOWN)
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.key_id == form[1], ApiKey.owner_type == "device")
    known = hmac.compare_digest(_digest(secret), row.hmac if row else _NOBODYS)
    if row is None or not known:
        _refuse(form[1], address, _UNKNOWN)
    device: Device = Device.get_by_id(row.owner_id)
    if why := _why_not(row, device, address):
        _refuse(form[1], address, why)
    _note(row, device, address, program)
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
    """The keys of a device, newest first; those that ended more than a year ago are left out."""
    since = now() - ENDED_KEYS_LISTED
    listed = _of(owner).where(ApiKey.expires > since, ApiKey.revoked.is_null() | (ApiKey.revoked > since))
    return list(listed.order_by(ApiKey.id.desc()))


def newest_id(owner: Device) -> str:
    """The id of the key that was made last; empty where none ever was."""
    row: ApiKey | None = _of(owner).order_by(ApiKey.id.desc()).first()
    return "" if row is None else row.key_id


def key_id_in(text: str) -> str:
    """The key id that a text begins with, or a part of it; of a whole key no more than that. Empty where it is none."""
    if not text.lower().startswith(_PREFIX):
        return ""
    return _PREFIX + text[len(_PREFIX) : len(_PREFIX) + _ID_LENGTH].upper()


def count_live(owner: Device) -> int:
    return int(_of(owner).where(ApiKey.revoked.is_null(), ApiKey.expires > now()).count())


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


def _of(owner: Device) -> Any:
    return ApiKey.select().where(ApiKey.owner_type == "device", ApiKey.owner_id == owner.id)


def _expiry(expires: datetime, moment: datetime) -> datetime:
    if expires <= moment:
        raise BadValue("The expiry date is in the past; choose a later one.", field="expires")
    if expires > moment + MAX_LIFETIME:
        raise BadValue("A key lives for two years at most; choose an earlier expiry date.", field="expires")
    return expires


def _range(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        message = f"{text[:64]!r} is no address range; write one like 10.0.0.0/24."
        raise BadValue(message, field="addresses") from error


def _generate() -> tuple[str, str]:
    """A key id that was never used, and the whole key: id, 244 random bits, check digits."""
    while True:
        key_id = _PREFIX + _random(_ID_SIGNS, _ID_LENGTH)
        if not ApiKey.select().where(ApiKey.key_id == key_id).exists():
            body = key_id + _random(_SIGNS, _SECRET_LENGTH)
            return key_id, body + _check_digits(body)


def _random(signs: str, length: int) -> str:
    return "".join(secrets.choice(signs) for _ in range(length))


def _check_digits(body: str) -> str:
    """CRC-32 in base 62: a key that was cut or mistyped is seen without a look into the database."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK_LENGTH):
        number, rest = divmod(number, len(_SIGNS))
        digits = _SIGNS[rest] + digits
    return digits


def _digest(secret: str) -> str:
    return runtime.secrets().digest("api-key", secret)


def _why_not(row: ApiKey, device: Device, address: str) -> str:
    """Why a key whose secret is right is refused, or nothing."""
    if row.revoked is not None:
        return f"The key {row.key_id} was revoked. Ask a site admin for a new one."
    if row.expires <= now():
        return f"The key {row.key_id} expired on {row.expires:%Y-%m-%d}. Ask a site admin for a new one."
    if device.disabled:
        return f"The device {device.label} is disabled. Ask a site admin to enable it."
    if row.addresses and not _within(address, row.addresses):
        return f"The key {row.key_id} may not be used from {address}."
    return ""


def _within(address: str, ranges: list[str]) -> bool:
    with contextlib.suppress(ValueError):
        caller = ipaddress.ip_address(address)
        caller = getattr(caller, "ipv4_mapped", None) or caller
        return any(caller in ipaddress.ip_network(text) for text in ranges)
    return False


def _refuse(key: str, address: str, message: str) -> NoReturn:
    log.warning("key %s refused from %s", key, address)
    raise NotSignedIn(message)


def _note(row: ApiKey, device: Device, address: str, program: str) -> None:
    moment = now()
    if row.last_used is not None and moment - row.last_used < _NOTED_EACH:
        return
    shown = "".join(character for character in program if character.isprintable())[:100]
    with skip_if_disk_full(f"a use of key {row.key_id}"), writing():
        ApiKey.update(last_used=moment, last_address=address, last_program=shown).where(ApiKey.id == row.id).execute()
        Device.update(last_seen=moment, last_address=address).where(Device.id == device.id).execute()
