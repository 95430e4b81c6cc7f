"""A removed device keeps its row, and its label becomes free."""


def up(migrator, db):
    db.execute_sql('ALTER TABLE "device" ADD COLUMN "removed" DATETIME')
    db.execute_sql('DROP INDEX "device_label"')
    db.execute_sql('CREATE UNIQUE INDEX "device_label_in_use" ON "device" ("label") WHERE ("removed" IS NULL)')
