"""What programs say of containers: info, tags and notes."""

TABLES = {
    "container_group": ("tags",),
    "project": ("info", "tags", "notes"),
    "subject": ("info", "tags", "notes"),
    "session": ("info", "tags", "notes"),
    "acquisition": ("info", "tags", "notes"),
}
DEFAULTS = {"info": "{}", "tags": "[]", "notes": "[]"}


def up(migrator, db):
    for table, columns in TABLES.items():
        for column in columns:
            # With a constant default, SQLite changes no row (lang_altertable.html).
            db.execute_sql(
                f"""ALTER TABLE "{table}" ADD COLUMN "{column}" TEXT NOT NULL DEFAULT '{DEFAULTS[column]}'"""
            )
