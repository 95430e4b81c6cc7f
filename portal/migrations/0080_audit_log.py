"""The audit log: a digest that only the site's key can make, the sessions of entries, indexes of filters, and the anchor.

The entries that exist stay as they are: nothing rewrites the history. The first entry after this step binds them.
"""

from peewee import IntegerField

from portal.models.base import Table


class AuditedSession(Table):
    audit = IntegerField()
    session = IntegerField()

    class Meta:
        indexes = ((("session", "audit"), False),)


def up(migrator, db):
    db.execute_sql("ALTER TABLE audit ADD COLUMN hmac TEXT NOT NULL DEFAULT ''")
    db.execute_sql("ALTER TABLE audit ADD COLUMN session INTEGER")
    db.execute_sql("CREATE INDEX audit_session ON audit (session)")
    db.create_tables([AuditedSession])
    db.execute_sql("CREATE INDEX audit_actor_type_actor_id_action ON audit (actor_type, actor_id, action)")
    db.execute_sql("CREATE INDEX audit_address ON audit (address)")
    # The last anchor of the audit log that the database knows.
    db.execute_sql(
        'CREATE TABLE IF NOT EXISTS "audit_anchor" ("id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,'
        ' "place" INTEGER NOT NULL, "number" INTEGER NOT NULL, "mac" TEXT NOT NULL, "at" DATETIME NOT NULL, "began" DATETIME NOT NULL)'
    )
