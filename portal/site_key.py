"""The key file of the database, checked by its recorded fingerprint: another or a missing file is refused."""

from pathlib import Path

from peewee import DatabaseError

from portal.errors import Damaged
from portal.models import Secret, SiteKey, connection, database, writing
from portal.vault import Vault

REMEDY = (
    "Restore the key file from a backup, or create a new key and lose what the old one encrypted: portal key replace"
)


def require_file(path: Path) -> None:
    """Raise Damaged unless the key file exists. Called if the database exists, as a new key could decrypt nothing."""
    if not path.exists():
        message = f"The key file {path} is missing. The device keys and credentials of this site depend on it."
        raise Damaged(f"{message} {REMEDY}")


def require(opened: Vault, path: Path) -> None:
    """Raise Damaged unless this is the key that the database was used with."""
    try:
        if matches_database(opened):
            return
    except DatabaseError:  # the next read of a damaged database gives a better message
        return
    raise Damaged(f"The key file {path} is not the one that belongs to this site's database. {REMEDY}")


def matches_database(opened: Vault) -> bool:
    """Whether this is the database's key, by its fingerprint or, before one was recorded, by a sealed secret."""
    with connection():
        recorded = _recorded()
        if recorded:
            return recorded == opened.fingerprint
        sealed = Secret.select().first() if database.table_exists("secret") else None
        return sealed is None or opened.opens(bytes(sealed.sealed), row=sealed.row)


def record_fingerprint(opened: Vault) -> None:
    """Record the fingerprint of a site that has none: a new one, or one of an earlier release."""
    with connection():
        if _recorded() is None:
            with writing():
                SiteKey.create(fingerprint=opened.fingerprint)


def _recorded() -> str | None:
    """The fingerprint of the key in use; None if none is recorded."""
    if not database.table_exists("site_key"):
        return None
    row = SiteKey.select().order_by(SiteKey.id.desc()).first()
    return str(row.fingerprint) if row else None
