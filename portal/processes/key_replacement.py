"""Replacing a lost site key: what only the old key could decrypt is marked as lost, and listed."""

import os
from dataclasses import dataclass

from portal import site_key, vault
from portal.access import audit
from portal.access.actors import Actor
from portal.errors import BadValue
from portal.models import ApiKey, Job, Secret, SiteKey, Storage, User, connection, now, writing
from portal.settings import Settings

STORAGE_MESSAGE = "The site's key was replaced, so its credential is lost. Enter the secret again, then test."


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What can no longer be used without the old key."""

    device_keys: int
    storages: tuple[str, ...]
    """Labels of the storages whose credentials are lost."""
    users: int
    """Accounts whose sessions end; passwords stay valid."""
    exports: int
    """Finished exports whose manifests this site can no longer prove to be its own."""

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each kind of loss, with what to do about it."""
        labels = f" ({', '.join(self.storages)})" if self.storages else ""
        return (
            f"Device keys: {self.device_keys:,} revoked. Generate new ones, and give them to the devices.",
            f"Credentials of storages: {len(self.storages):,} lost{labels}. Enter each secret again.",
            f"Sessions: {self.users:,} users have to sign in again. Passwords stay valid.",
            f"Exports: the manifests of {self.exports:,} are no longer recognised as this site's own.",
            "Audit log: goes on with the new key, which vouches for all entries so far as it finds them.",
        )


def require_lost_key(chosen: Settings) -> None:
    """Raise BadValue if the key file exists and belongs to the database."""
    if chosen.site_key.exists() and site_key.matches_database(vault.open_vault(chosen.site_key)):
        raise BadValue(f"The key file {chosen.site_key} belongs to this site's database. Nothing was replaced.")


def losses() -> Losses:
    with connection():
        live = (ApiKey.owner_type == "device") & ApiKey.revoked.is_null() & (ApiKey.expires > now())
        sealed = {int(row.row.partition(":")[2]) for row in Secret.select() if row.row.startswith("storage:")}
        labels = (row.label for row in Storage.select().order_by(Storage.label) if row.id in sealed)
        return Losses(
            device_keys=ApiKey.select().where(live).count(),
            storages=tuple(labels),
            users=User.select().where(~User.disabled).count(),
            exports=Job.select().where(Job.kind == "export", Job.state.in_(("done", "errors"))).count(),
        )


def replace(chosen: Settings, *, actor: Actor) -> Losses:
    """Give the site a new key and mark what is lost. Safe to run again after an interruption at any line."""
    lost = losses()
    new_key = chosen.site_key.with_name("site.key.new")
    vault.create_key_file(new_key)
    secrets = vault.open_vault(new_key)

    # The database names the new key before the file is renamed: in between, the site refuses to start, and says why.
    with connection(), writing():
        ApiKey.update(revoked=now()).where(ApiKey.owner_type == "device", ApiKey.revoked.is_null()).execute()
        for row in Secret.select():
            kind, _, number = row.row.partition(":")
            if kind == "storage":
                failed = {"state": "failed", "since": now(), "message": STORAGE_MESSAGE}
                Storage.update(failed).where(Storage.id == int(number)).execute()
        Secret.delete().execute()
        User.update(session_epoch=User.session_epoch + 1).execute()
        SiteKey.create(fingerprint=secrets.fingerprint)
        detail = {"device_keys": lost.device_keys, "storages": len(lost.storages)}
        audit.record_with(secrets, actor, "site_key:replaced", "site", "", **detail)

    # An existing key file is kept: it may be the key of another site.
    if chosen.site_key.exists():
        chosen.site_key.rename(chosen.site_key.with_name(f"site.key.replaced-{now():%Y%m%dT%H%M%S}"))
    new_key.rename(chosen.site_key)
    folder = os.open(chosen.site_key.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return lost
