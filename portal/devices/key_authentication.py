"""Authentication by an API key: whose it is, whether it is accepted, and that it was seen."""

import hmac
import logging
import math
import time
from datetime import timedelta
from typing import NoReturn

from portal import runtime
from portal.access.actors import Actor
from portal.devices import api_keys, key_format, key_narrowing, key_uses
from portal.errors import NotSignedIn
from portal.models import ApiKey, Device, User, now, skip_if_disk_full, writing

log = logging.getLogger(__name__)

MAX_REFUSALS_LOGGED = 200
"""Refused keys that each process logs in a minute; the others are counted."""
_RECORD_INTERVAL = timedelta(minutes=1)
"""How often a key's use is recorded: a write would be the slowest part of a request."""
_NO_DIGEST = "0" * 64
"""Compared with where the key id is unknown, so that the time of an answer tells nothing."""
_INVALID = "Invalid API key. Copy the whole key again, or ask a site admin for a new one."


class _RefusalLog:
    """Writes refused keys to the log, a bounded number a minute: a flood of wrong keys does not fill the disk."""

    def __init__(self) -> None:
        self._site: object = None
        self._began = -math.inf
        self._written = self._omitted = 0

    def write(self, key: str, address: str) -> None:
        moment = time.monotonic()
        if moment - self._began >= 60 or self._site is not runtime.current():
            if self._omitted:
                log.warning("%d more keys were refused within a minute", self._omitted)
            self._site, self._began, self._written, self._omitted = runtime.current(), moment, 0, 0
        if self._written < MAX_REFUSALS_LOGGED:
            self._written += 1
            log.warning("key %s refused from %s", key, address)
        else:
            self._omitted += 1


_refusals = _RefusalLog()


def authenticate(secret: str, *, address: str, program: str) -> Actor:
    """The device or user whose key this is. Raises NotSignedIn; the reason is told only to a valid key.

    A device is an admin of the site, unless its key is limited to a group or project; a user has the user's own rights.
    """
    key_id = key_format.key_id_of(secret)
    if key_id is None:
        _refuse("of unknown format", address, _INVALID)
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.key_id == key_id)
    is_known = hmac.compare_digest(api_keys.digest(secret), row.hmac if row else _NO_DIGEST)
    if row is None or not is_known:
        _refuse(key_id, address, _INVALID)
    owner = api_keys.owner_of(row)
    if reason := _refusal_reason(row, owner, address):
        _refuse(key_id, address, reason)

    _record_use(row, owner, address=address, program=key_uses.clean_program(program))
    return _actor(row, owner, address)


def holder(key_id: str, *, address: str) -> Actor | None:
    """The actor of a key that is accepted from this address, for what it asked for before; None of another key."""
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.key_id == key_id)
    owner = None if row is None else api_keys.owner_of(row)
    if row is None or owner is None or _refusal_reason(row, owner, address):
        return None
    return _actor(row, owner, address)


def authenticate_again(actor: Actor) -> Actor:
    """The actor of a key as it is now, at the end of a request that may have run for hours. Raises NotSignedIn."""
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.key_id == actor.via)
    if row is None:
        _refuse(actor.via, actor.address, _INVALID)
    owner = api_keys.owner_of(row)
    if reason := _refusal_reason(row, owner, actor.address):
        _refuse(actor.via, actor.address, reason)
    return _actor(row, owner, actor.address)


def log_refusal(key_id: str | None, address: str) -> None:
    """Log, or count, a key that was refused without `authenticate`; None for one of unknown format."""
    _refusals.write(key_id or "of unknown format", address)


def _actor(row: ApiKey, owner: Device | User, address: str) -> Actor:
    narrowed = key_narrowing.place_of(row)
    return Actor(
        type="device" if isinstance(owner, Device) else "user",
        id=str(owner.id),
        name=api_keys.owner_name(owner),
        via=row.key_id,
        address=address,
        is_admin=narrowed is None if isinstance(owner, Device) else bool(owner.is_admin),
        read_only=row.read_only,
        narrowed=narrowed,
    )


def _refusal_reason(row: ApiKey, owner: Device | User, address: str) -> str:
    """Why a key with the right secret is refused; empty if it is accepted."""
    if isinstance(owner, Device):
        renewal = "Ask a site admin for a new one."
        if owner.removed is not None:
            return f"The device {owner.label} was removed, and its keys with it."
    else:
        renewal = "Create a new one on your profile page."
    if row.revoked is not None:
        return f"The key {row.key_id} was revoked. {renewal}"
    if row.expires <= now():
        return f"The key {row.key_id} expired on {row.expires:%Y-%m-%d}. {renewal}"
    if owner.disabled:
        what = "device" if isinstance(owner, Device) else "user"
        return f"The {what} {api_keys.owner_name(owner)} is disabled. Ask a site admin to enable it."
    return "" if key_narrowing.allows(row, address) else f"The key {row.key_id} may not be used from {address}."


def _record_use(row: ApiKey, owner: Device | User, *, address: str, program: str) -> None:
    """At most once a minute; `key_uses` counts the other requests, and writes them later."""
    moment = now()
    if row.last_used is not None and moment - row.last_used < _RECORD_INTERVAL:
        return
    used = {"last_used": moment, "last_address": address, "last_program": program}
    with skip_if_disk_full(f"a use of key {row.key_id}"), writing():
        ApiKey.update(used).where(ApiKey.id == row.id).execute()
        key_uses.note_first(row, address=address, program=program, at=moment)
        if isinstance(owner, Device):
            Device.update(last_seen=moment, last_address=address).where(Device.id == owner.id).execute()


def _refuse(key: str, address: str, message: str) -> NoReturn:
    _refusals.write(key, address)
    raise NotSignedIn(message)
