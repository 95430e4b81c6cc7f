"""Settings that an admin changes, and the audit log."""

from peewee import CharField, TextField

from portal.models.base import JsonField, Table, UtcField, now


class Setting(Table):
    key = CharField(unique=True)
    value = JsonField(null=True)


class SiteKey(Table):
    """Fingerprints of the key files of this database; the newest row is that of the key in use."""

    fingerprint = CharField()
    since = UtcField(default=now)


class Audit(Table):
    """One row for each event, never changed; each has the digest of the row before it."""

    at = UtcField(index=True)
    actor_type = CharField()
    actor_id = CharField()
    via = CharField()
    action = CharField(index=True)
    target_type = CharField()
    target_id = CharField()
    address = CharField(default="")
    detail = JsonField(default=dict)
    previous = TextField()
    hash = TextField()

    class Meta:
        indexes = ((("target_type", "target_id"), False), (("actor_type", "actor_id"), False))
