"""Settings that an admin changes, and the audit log."""

from peewee import CharField, IntegerField, TextField

from portal.models.base import JsonField, Table, UtcField, now


class Setting(Table):
    key = CharField(unique=True)
    value = JsonField(null=True)


class SiteCertificate(Table):
    """The site's certificate for TLS, one row; its private key is the sealed secret `certificate:ID`."""

    chain = TextField()
    """PEM: the certificate, then those of its issuers."""
    fingerprint = CharField()
    expires = UtcField()
    installed = UtcField(default=now)


class SiteKey(Table):
    """Fingerprints of the key files of this database; the newest row is that of the key in use."""

    fingerprint = CharField()
    since = UtcField(default=now)


class Audit(Table):
    """One entry for each event, never changed: its id is the next number, and it has the digest of the entry before it.

    `access.audit` writes it, `access.audit_chain` verifies it, and triggers refuse to change it (`append_only`).
    """

    at = UtcField(index=True)
    actor_type = CharField()
    actor_id = CharField()
    via = CharField()
    action = CharField(index=True)
    target_type = CharField()
    target_id = CharField()
    address = CharField(default="", index=True)
    detail = JsonField(default=dict)
    previous = TextField()
    hash = TextField()
    hmac = TextField(default="")
    """The site's key, by eight digits of its fingerprint, and the HMAC of `hash` with it; empty in older entries."""
    session = IntegerField(null=True, index=True)
    """The session that was seen or fetched, or to which the target belongs."""

    class Meta:
        indexes = (
            (("target_type", "target_id"), False),
            (("actor_type", "actor_id"), False),
            (("actor_type", "actor_id", "action"), False),
        )


class AuditedSession(Table):
    """The sessions of an entry about several: an export, say. An index: the entry itself lists them in its detail."""

    audit = IntegerField()
    session = IntegerField()

    class Meta:
        indexes = ((("session", "audit"), False),)


class AuditAnchor(Table):
    """One row: the last anchor of the audit log that this database knows (`access.audit_anchors`)."""

    place = IntegerField()
    number = IntegerField()
    """Number of the last entry at that time."""
    mac = TextField()
    at = UtcField(default=now)
    began = UtcField(default=now)
    """When the first anchor of this database was written."""
