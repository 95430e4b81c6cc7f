"""What programs say of containers and files: info, tags and notes, and more of files; sessions by UID; tickets."""

from portal.models import Ticket

INFO = "TEXT NOT NULL DEFAULT '{}'"
LIST = "TEXT NOT NULL DEFAULT '[]'"
SAID = {"info": INFO, "tags": LIST, "notes": LIST}
COLUMNS = {
    "container_group": {"tags": LIST},
    "project": SAID,
    "subject": SAID,
    "session": SAID,
    "acquisition": SAID,
    "file": {"modality": "VARCHAR(255)", "classification": INFO, **SAID, "zip_member_count": "INTEGER"},
}


def up(migrator, db):
    for table, columns in COLUMNS.items():
        for name, kind in columns.items():
            # With a constant default, SQLite changes no row (lang_altertable.html).
            db.execute_sql(f'ALTER TABLE "{table}" ADD COLUMN "{name}" {kind}')
    for table in ("session", "acquisition"):
        db.execute_sql(f'CREATE INDEX IF NOT EXISTS "{table}_uid" ON "{table}" ("uid") WHERE ("uid" IS NOT NULL)')
    db.create_tables([Ticket])
