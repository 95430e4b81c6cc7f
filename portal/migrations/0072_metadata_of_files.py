"""What programs say of a file: modality, classification, info, tags, notes and members; sessions by UID; tickets."""

from portal.models import Ticket

COLUMNS = {
    "modality": "VARCHAR(255)",
    "classification": "TEXT NOT NULL DEFAULT '{}'",
    "info": "TEXT NOT NULL DEFAULT '{}'",
    "tags": "TEXT NOT NULL DEFAULT '[]'",
    "notes": "TEXT NOT NULL DEFAULT '[]'",
    "zip_member_count": "INTEGER",
}


def up(migrator, db):
    existing = {column.name for column in db.get_columns("file")}
    for name, kind in COLUMNS.items():
        if name not in existing:
            # With a constant default, SQLite changes no row (lang_altertable.html).
            db.execute_sql(f'ALTER TABLE "file" ADD COLUMN "{name}" {kind}')
    for table in ("session", "acquisition"):
        db.execute_sql(f'CREATE INDEX IF NOT EXISTS "{table}_uid" ON "{table}" ("uid") WHERE ("uid" IS NOT NULL)')
    db.create_tables([Ticket])
