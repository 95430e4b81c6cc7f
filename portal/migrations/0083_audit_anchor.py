"""The last anchor of the audit log that the database knows."""


def up(migrator, db):
    db.execute_sql(
        'CREATE TABLE IF NOT EXISTS "audit_anchor" ("id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,'
        ' "place" INTEGER NOT NULL, "number" INTEGER NOT NULL, "mac" TEXT NOT NULL, "at" DATETIME NOT NULL, "began" DATETIME NOT NULL)'
    )
