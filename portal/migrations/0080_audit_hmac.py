"""Entries of the audit log get a digest that only the site's key can make, and name the session that they are about.

The entries that exist stay as they are: nothing rewrites the history. The first entry after this step binds them.
"""


def up(migrator, db):
    db.execute_sql("ALTER TABLE audit ADD COLUMN hmac TEXT NOT NULL DEFAULT ''")
    db.execute_sql("ALTER TABLE audit ADD COLUMN session INTEGER")
    db.execute_sql("CREATE INDEX audit_session ON audit (session)")
