"""API keys of devices and users: issued, rotated, revoked and listed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from portal import runtime
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.devices import key_format, key_narrowing
from portal.devices.key_narrowing import NarrowingColumns
from portal.errors import BadValue, Missing, NotAllowed
from portal.models import ApiKey, Device, User, now, writing
from portal.refusals import ErrorCollector
from portal.tree import labels

MAX_LIVE_KEYS = 5
LIVE_STATES = ("live", "expires soon")
"""States of a key that is accepted."""
DEFAULT_LIFETIME = timedelta(days=365)
MAX_LIFETIME = timedelta(days=732)
"""Two years, with a leap day and the rest of the last day."""
EXPIRY_NOTICE = timedelta(days=30)
URGENT_EXPIRY_NOTICE = timedelta(days=7)
ENDED_KEYS_LISTED = timedelta(days=365)
"""How long expired and revoked keys remain listed."""

FEW_OWNERS = 500
"""Owners that a statement names one by one."""

Owner = Device | User


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """A new key; nothing can show the secret again."""

    key_id: str
    secret: str
    expires_at: datetime
    row: ApiKey


def issue(
    owner: Owner,
    *,
    name: str,
    expires: datetime | None = None,
    read_only: bool = False,
    only: str = "",
    addresses: Sequence[str] = (),
    after: str | None = None,
    actor: Actor,
) -> IssuedKey:
    """A new key, for a year by default. Raises BadValue, also if five keys are live, and NotAllowed.

    `only` is a group's id or GROUP/PROJECT, to which the key is limited. Where a key issues another one, that one does
    not outlive it, and a narrowed key issues none. `after` is the id of the newest key when the form was opened, so
    that a form sent twice makes one key.
    """
    issuing = _issuing_key(owner, actor)
    with ErrorCollector() as errors:
        with errors.kept():
            name = labels.clean(name, field="name")
        with errors.kept():
            expires = _checked_expiry(expires, issuing)
        with errors.kept():
            narrowing = key_narrowing.clean(read_only=read_only, only=only, addresses=addresses, actor=actor)
    return _create(owner, name=name, expires=expires, narrowing=narrowing, after=after, actor=actor)


def rotate(
    owner: Owner, key_id: str, *, name: str, expires: datetime | None = None, after: str | None = None, actor: Actor
) -> IssuedKey:
    """A new key with the narrowing of an existing one, which is accepted until it is revoked. As `issue`."""
    issuing = _issuing_key(owner, actor)
    old = get(owner, key_id)
    if old.revoked is not None:
        raise BadValue(f"Key {key_id} is revoked. Generate a new key instead.")
    with ErrorCollector() as errors:
        with errors.kept():
            name = labels.clean(name, field="name")
        with errors.kept():
            expires = _checked_expiry(expires, issuing)
    narrowing = NarrowingColumns(
        read_only=old.read_only, group_id=old.group_id, project_id=old.project_id, addresses=old.addresses
    )
    return _create(owner, name=name, expires=expires, narrowing=narrowing, after=after, replaces=key_id, actor=actor)


def revoke(owner: Owner, key_id: str, *, actor: Actor) -> None:
    """Refuse a key from now on. Raises Missing if its owner has no such key."""
    if not _is_own(owner, actor):
        rights.require_admin(actor)
    with writing():
        row = get(owner, key_id)
        if row.revoked is None:
            ApiKey.update(revoked=now()).where(ApiKey.id == row.id).execute()
            audit.record(actor, "key:revoked", "key", key_id, name=row.name, **_audited_owner(owner))


def revoke_all(owner: Owner) -> int:
    """Refuse all keys of an owner, within the write block that removes it; returns their number."""
    return int(ApiKey.update(revoked=now()).where(_belongs_to(owner), ApiKey.revoked.is_null()).execute())


def get(owner: Owner, key_id: str) -> ApiKey:
    """Raises Missing if the owner has no such key."""
    row: ApiKey | None = ApiKey.get_or_none(_belongs_to(owner), ApiKey.key_id == key_id)
    if row is None:
        message = f"{owner_name(owner)} has no key {key_id[:20]!r}. Its keys begin with {key_format.PREFIX}."
        raise Missing(message, field="key_id")
    return row


def for_owner(owner: Owner) -> list[ApiKey]:
    """The keys of an owner, newest first; of a device that is in use, without those that ended over a year ago."""
    query = ApiKey.select().where(_belongs_to(owner))
    if not (isinstance(owner, Device) and owner.removed):
        query = query.where(_is_listed())
    return list(query.order_by(ApiKey.id.desc()))


def for_devices(devices: Sequence[Device]) -> dict[int, list[ApiKey]]:
    """The keys of each device by its number, newest first, without those that ended over a year ago; one statement."""
    keys: dict[int, list[ApiKey]] = {device.id: [] for device in devices}
    rows = ApiKey.select().where(ApiKey.owner_type == "device", _is_listed()).order_by(ApiKey.id.desc())
    if len(keys) <= FEW_OWNERS:
        rows = rows.where(ApiKey.owner_id.in_(list(keys)))
    for row in rows:
        if row.owner_id in keys:
            keys[row.owner_id].append(row)
    return keys


def all_ids() -> frozenset[str]:
    """The ids of all keys, also of those that are no longer accepted."""
    rows: Any = ApiKey.select(ApiKey.key_id).tuples()
    return frozenset(key_id for (key_id,) in rows)


def newest_id(owner: Owner) -> str:
    """The id of the latest key; empty if there never was one."""
    row: ApiKey | None = ApiKey.select().where(_belongs_to(owner)).order_by(ApiKey.id.desc()).first()
    return "" if row is None else row.key_id


def count_live(owner: Owner) -> int:
    return int(ApiKey.select().where(_belongs_to(owner), is_live()).count())


def is_live() -> Any:
    """The SQL condition that a key of some owner is neither revoked nor expired.

    No index answers it: SQLite would read all keys that are not expired, for each owner.
    """
    return ApiKey.revoked.is_null() & (fn.COALESCE(ApiKey.expires, "") > ApiKey.expires.db_value(now()))


def state(row: ApiKey) -> str:
    """live | expires soon | expired | revoked."""
    left = row.expires - now()
    if row.revoked is not None:
        return "revoked"
    if left <= timedelta(0):
        return "expired"
    return "expires soon" if left <= EXPIRY_NOTICE else "live"


def owner_of(row: ApiKey) -> Owner:
    owner: Owner = (Device if row.owner_type == "device" else User).get_by_id(row.owner_id)
    return owner


def owner_name(owner: Owner) -> str:
    return owner.label if isinstance(owner, Device) else owner.email


def digest(secret: str) -> str:
    return runtime.secrets().digest("api-key", secret)


def view(row: ApiKey, place: str | None) -> dict[str, Any]:
    """One key, limited to `place`, for `--json` and pages; nothing of its secret."""
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
        "only": place,
        "addresses": row.addresses,
        "replaces": row.replaces,
    }


def _create(
    owner: Owner,
    *,
    name: str,
    expires: datetime,
    narrowing: NarrowingColumns,
    after: str | None,
    replaces: str | None = None,
    actor: Actor,
) -> IssuedKey:
    with writing():
        if after is not None and (latest := newest_id(owner)) not in ("", after):
            message = f"Key {latest} was created after this page was opened, so no other key was created."
            raise BadValue(f"{message} If nobody has stored it, revoke it and generate a key again.")
        if count_live(owner) >= MAX_LIVE_KEYS:
            raise BadValue(f"{owner_name(owner)} has {MAX_LIVE_KEYS} live keys, the maximum. Revoke one first.")
        while True:
            key_id, secret = key_format.generate()
            if not ApiKey.select().where(ApiKey.key_id == key_id).exists():
                break
        row = ApiKey.create(
            key_id=key_id,
            owner_type="device" if isinstance(owner, Device) else "user",
            owner_id=owner.id,
            name=name,
            hmac=digest(secret),
            expires=expires,
            created_by=actor.name or actor.type,
            replaces=replaces,
            **asdict(narrowing),
        )
        words = key_narrowing.in_words(row, key_narrowing.place_names([row]).get(row.id, ""))
        detail = {"name": name, "expires": expires.isoformat(), "narrowed": words, "replaces": replaces}
        detail = {**_audited_owner(owner), **{field: value for field, value in detail.items() if value}}
        audit.record(actor, "key:issued", "key", key_id, **detail)
    return IssuedKey(key_id=key_id, secret=secret, expires_at=expires, row=row)


def _issuing_key(owner: Owner, actor: Actor) -> ApiKey | None:
    """The key with which the actor issues another one; None where a person does. Raises NotAllowed."""
    used: ApiKey | None = ApiKey.get_or_none(ApiKey.key_id == actor.via)
    if isinstance(owner, User):
        if not _is_own(owner, actor):
            raise NotAllowed("Only the user can create a key for this account, on the profile page.")
        return None
    rights.require_admin(actor)
    if used is not None and key_narrowing.is_narrowed(used):
        raise NotAllowed("This API key is narrowed, so it issues no other key. Use one that is not.")
    return used


def _is_own(owner: Owner, actor: Actor) -> bool:
    """Whether a user who is signed in, and not just a key of the user, handles the user's own keys."""
    is_user = isinstance(owner, User) and actor.type == "user" and actor.id == str(owner.id)
    return is_user and not key_format.is_key_id(actor.via)


def _checked_expiry(expires: datetime | None, issuing: ApiKey | None) -> datetime:
    moment = now()
    latest = moment + MAX_LIFETIME if issuing is None else min(moment + MAX_LIFETIME, issuing.expires)
    if expires is None:
        return min(moment + DEFAULT_LIFETIME, latest)
    if expires <= moment:
        raise BadValue("The expiry date is in the past. Choose a later one.", field="expires")
    if expires > moment + MAX_LIFETIME:
        raise BadValue("A key is valid for at most two years. Choose an earlier expiry date.", field="expires")
    if expires > latest:
        message = f"The key that issues it expires on {latest:%Y-%m-%d}, and the new one cannot outlive it."
        raise BadValue(f"{message} Choose an earlier expiry date.", field="expires")
    return expires


def _belongs_to(owner: Owner) -> Any:
    kind = "device" if isinstance(owner, Device) else "user"
    return (ApiKey.owner_type == kind) & (ApiKey.owner_id == owner.id)


def _is_listed() -> Any:
    since = now() - ENDED_KEYS_LISTED
    return (ApiKey.expires > since) & (ApiKey.revoked.is_null() | (ApiKey.revoked > since))


def _audited_owner(owner: Owner) -> dict[str, str]:
    return {"device" if isinstance(owner, Device) else "user": owner_name(owner)}
