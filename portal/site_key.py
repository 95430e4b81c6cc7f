"""Which key file belongs to the database: its fingerprint is a row, and another or a missing key file is refused."""

from pathlib import Path

from peewee import DatabaseError

from portal.errors import Damaged
from portal.models import Secret, SiteKey, connection, database, writing
from portal.vault import Vault

REMEDY = (
    "Bring that file back from a backup, or begin with a new key and lose what the old one sealed: portal key replace"
)


def require_file(path: Path) -> None:
    """Raise Damaged unless the key file is there. Called where the database exists: a new key would open nothing."""
    if not path.exists():
        message = f"The key file {path} is missing, and the device keys and credentials of this site depend on it."
        raise Damaged(f"{message} {REMEDY}")


def require(opened: Vault, path: Path) -> None:
    """Raise Damaged unless the key of this file is the one that the database was used with."""
    try:
        if matches_database(opened):
            return
    except DatabaseError:  # a database that cannot be read says so wherever it is read next, and in better words
        return
    raise Damaged(f"The key file {path} is not the one that belongs to this site's database. {REMEDY}")


def matches_database(opened: Vault) -> bool:
    """Whether this is the database's key. Before the first fingerprint was recorded, a sealed secret tells."""
    with connection():
        recorded = _recorded()
        if recorded:
            return recorded == opened.fingerprint
        sealed = Secret.select().first() if database.table_exists("secret") else None
        return sealed is None or opened.opens(bytes(sealed.sealed), row=sealed.row)


def record_fingerprint(opened: Vault) -> None:
    """Keep the fingerprint of a site that has none yet: a new one, or one of an earlier release."""
    with connection():
        if _recorded() is None:
            with writing():
                SiteKey.create(fingerprint=opened.fingerprint)


def _recorded() -> str | None:
    """The fingerprint of the key in use; None where none was recorded yet."""
    if not database.table_exists("site_key"):
        return None
    row = SiteKey.select().order_by(SiteKey.id.desc()).first()
    return str(row.fingerprint) if row else None
