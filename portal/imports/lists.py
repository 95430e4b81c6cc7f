"""The list of imports."""

from portal.imports import imports
from portal.jobs.lists import OBJECT_JOB_SORTS, SEARCHED_COLUMNS, state_expression, with_wait_reasons
from portal.listing import LongList
from portal.models import Job

IMPORTS = LongList(
    table=Job,
    rows=lambda: Job.select().where(Job.kind == "import"),
    views=lambda rows: with_wait_reasons(lambda some: [imports.view(row) for row in some], rows),
    state=state_expression,
    searched=SEARCHED_COLUMNS,
    sorts=OBJECT_JOB_SORTS,
    usual="-number",
    heads=(
        *("Import", "Storage", "Folder", "Project", "By", "State", "Message", "Objects", "Done", "Failed"),
        *("Bytes", "Started by", "Created", "Ended"),
    ),
    cells=lambda row: (
        *(row["id"], row["storage"], row["prefix"], row["project"], row["by"], row["state"], row["message"]),
        *(row["items"], row["done"], row["failed"], row["bytes"], row["started_by"], row["created"], row["ended"]),
    ),
)
