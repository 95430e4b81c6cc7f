"""Original data: what no user made, but a device, a peer, an import or the system."""

from typing import Any

from peewee import fn

from portal.models import File, FileVersion, Trash
from portal.trash.move import CONTAINER_TABLES
from portal.tree import container_sizes


def is_live(kind: str, row_id: int) -> bool:
    """Whether a file or a container is original, or anything in it that is not in the trash."""
    if kind == "file":
        return bool(File.select(File.id).where(File.id == row_id, _is_original_file()).exists())
    return _has_container(kind, row_id) or container_sizes.has_file(kind, row_id, _is_original_file())


def is_in_trash(entry: Trash) -> bool:
    """Whether an item of the trash is original, or anything in it."""
    files = File.select(File.id).where(File.trash == entry.id, _is_original_file())
    containers = (
        table.select(table.id).where(table.trash == entry.id, table.origin_type != "user") for table in CONTAINER_TABLES
    )
    return bool(files.exists()) or any(query.exists() for query in containers)


def _is_original_file() -> Any:
    """The SQL condition that a file, or an older version of it, is original: deleting the file deletes them all."""
    versions = FileVersion.select(FileVersion.id).where(FileVersion.file == File.id, FileVersion.origin_type != "user")
    return (File.origin_type != "user") | fn.EXISTS(versions)


def _has_container(kind: str, row_id: int) -> bool:
    """Whether the container, or a live one below it, is original."""
    top = [table._meta.table_name for table in CONTAINER_TABLES].index(kind)
    for depth in range(top, len(CONTAINER_TABLES)):
        lowest = CONTAINER_TABLES[depth]
        query = lowest.select(lowest.id)
        for table in reversed(CONTAINER_TABLES[top:depth]):
            query = query.join(table)
        found = query.where(CONTAINER_TABLES[top].id == row_id, lowest.origin_type != "user", lowest.trash.is_null())
        if found.exists():
            return True
    return False
