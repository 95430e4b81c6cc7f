"""The sessions of audit entries about several of them, and what the filters of the audit log are answered by."""

from peewee import IntegerField

from portal.models.base import Table


class AuditedSession(Table):
    audit = IntegerField()
    session = IntegerField()

    class Meta:
        indexes = ((("session", "audit"), False),)


def up(migrator, db):
    db.create_tables([AuditedSession])
    db.execute_sql("CREATE INDEX audit_actor_type_actor_id_action ON audit (actor_type, actor_id, action)")
    db.execute_sql("CREATE INDEX audit_address ON audit (address)")
