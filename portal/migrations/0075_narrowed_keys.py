"""API keys limited to a group or project, the key that one was rotated from, and the uses of keys by address."""

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
