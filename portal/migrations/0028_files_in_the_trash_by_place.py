"""An index of files in the trash by container, so that a purge finds out whether a container is empty."""


def up(migrator, db):
    db.execute_sql(
        'CREATE INDEX "file_trashed_parent" ON "file" ("parent_type", "parent_id") WHERE ("deleted_at" IS NOT NULL)'
    )
