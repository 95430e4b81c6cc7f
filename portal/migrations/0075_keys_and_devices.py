"""Keys: limited to a place, rotated, their uses by address. Devices that were removed keep a row; generated passwords."""

from peewee import CharField, ForeignKeyField, IntegerField

from portal.models.base import Table, UtcField


class ApiKey(Table):
    pass


class KeyUse(Table):
    key = ForeignKeyField(ApiKey, backref="+", on_delete="CASCADE", index=False)
    address = CharField()
    program = CharField()
    first = UtcField()
    last = UtcField(index=True)
    count = IntegerField()

    class Meta:
        indexes = ((("key", "address", "program"), True),)


def up(migrator, db):
    for column, kind in (("group_id", "INTEGER"), ("project_id", "INTEGER"), ("replaces", "VARCHAR(255)")):
        db.execute_sql(f'ALTER TABLE "api_key" ADD COLUMN "{column}" {kind}')
    db.create_tables([KeyUse])
    # A removed device keeps its row, and its label becomes free.
    db.execute_sql('ALTER TABLE "device" ADD COLUMN "removed" DATETIME')
    db.execute_sql('DROP INDEX "device_label"')
    db.execute_sql('CREATE UNIQUE INDEX "device_label_in_use" ON "device" ("label") WHERE ("removed" IS NULL)')
    # A generated password is to be replaced at the next sign-in.
    db.execute_sql('ALTER TABLE "user" ADD COLUMN "must_change_password" INTEGER NOT NULL DEFAULT 0')
