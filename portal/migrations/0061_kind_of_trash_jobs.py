"""A job that moves things to the trash has the kind `trash`."""


def up(migrator, db):
    db.execute_sql("UPDATE job SET kind = 'trash' WHERE kind = 'throw'")
