"""Rename the columns `sentence` to `message`, and the key in stored results."""


def up(migrator, db):
    for table in db.get_tables():
        if any(column.name == "sentence" for column in db.get_columns(table)):
            migrator.migrate(migrator.rename_column(table, "sentence", "message"))
    # A quote inside a JSON text is escaped, so that only keys can match.
    db.execute_sql(
        """UPDATE job SET result = replace(result, '"sentence":', '"message":') WHERE result LIKE '%"sentence":%'"""
    )
