"""/api/{container}/{id}/files and /api/files: the files of a container, and what is said of them."""

from dataclasses import replace
from typing import Any

from werkzeug.wrappers import Response

from portal.errors import Missing
from portal.routes.api import answers, authentication
from portal.routes.api.ancestry import KINDS, parents
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.containers import ContainerPath
from portal.routes.api.schemas.files import (
    ClassificationChanged,
    DeleteQuery,
    FileChanged,
    FileDetails,
    FileIdPath,
    FileParents,
    FilePath,
    FileShown,
    FileVersions,
    FileVersionShown,
    Info,
    InfoChanged,
    Modified,
    ParentRef,
    Tags,
    Trashed,
    VersionQuery,
)
from portal.routes.api.schemas.lists import DEFAULT_LIMIT, Listed, ListQuery, Page
from portal.trash import trash
from portal.tree import containers, file_metadata, files, rest_ids, versions
from portal.tree.file_metadata import FileMetadata
from portal.tree.versions import Version

bp = Noun("files", __name__, "The files of a container, and what is said of them.")

ANY_KIND = (*KINDS, "container")
"""The kinds that have files: `container` for an id of any kind."""
FILE = "/{noun}/<container_id>/files/<name>"


@bp.each("get", "/{noun}/<container_id>/files", ANY_KIND, lambda _kind: Listed[FileShown])
def list_all(kind: str, path: ContainerPath, query: ListQuery) -> Response:
    """List the files of one {kind}"""
    place, page = container(kind, path.container_id), answers.page(query, "file", "name")
    return answers.listed(files.list_directly_in(*place, authentication.scope(), page), shape)


@bp.get("/files", responses={200: Page[FileShown]})
def list_everywhere(query: ListQuery) -> Page[FileShown]:
    """List the files of all containers; always as an object"""
    page = replace(answers.page(query, "file", "name"), limit=query.limit or DEFAULT_LIMIT)
    found = files.list_all(authentication.scope(), page)
    return Page(count=len(found.rows), total=found.total, results=[shape(row) for row in found.rows])


@bp.get("/files/<file_id>", responses={200: FileDetails})
def show(path: FileIdPath, query: VersionQuery) -> FileDetails:
    """Show one file, or one of its versions"""
    return details(files.get(_row_id(path), authentication.scope()), query.version)


@bp.each("get", f"{FILE}/info", ANY_KIND, lambda _kind: FileDetails)
def show_by_name(kind: str, path: FilePath, query: VersionQuery) -> FileDetails:
    """Show one file of one {kind}"""
    return details(by_name(kind, path), query.version)


@bp.get("/files/<file_id>/versions", responses={200: FileVersions})
def list_versions(path: FileIdPath) -> FileVersions:
    """List the versions of a file, and who sent each"""
    file = files.get(_row_id(path), authentication.scope())
    return FileVersions([_version_shape(path.file_id, version) for version in versions.newest_first(file)])


@bp.each("put", FILE, ANY_KIND, lambda _kind: Modified)
def change_by_name(kind: str, path: FilePath, body: FileChanged) -> Modified:
    """Change what is said of a file of one {kind}"""
    return _changed(by_name(kind, path).id, body)


@bp.put("/files/<file_id>", responses={200: Modified})
def change(path: FileIdPath, body: FileChanged) -> Modified:
    """Change what is said of a file"""
    return _changed(_row_id(path), body)


@bp.each("delete", FILE, ANY_KIND, lambda _kind: Trashed)
def delete_by_name(kind: str, path: FilePath, query: DeleteQuery) -> Trashed:  # noqa: ARG001 (checked)
    """Move a file of one {kind} to the trash"""
    return _trashed(by_name(kind, path).id)


@bp.delete("/files/<file_id>", responses={200: Trashed})
def delete(path: FileIdPath, query: DeleteQuery) -> Trashed:  # noqa: ARG001 (checked)
    """Move a file to the trash"""
    return _trashed(_row_id(path))


@bp.each("patch", f"{FILE}/info", ANY_KIND, lambda _kind: Modified)
def change_info_by_name(kind: str, path: FilePath, body: InfoChanged) -> Modified:
    """Change the info of a file of one {kind}"""
    file_metadata.change_info(by_name(kind, path).id, body.model_dump(), actor=authentication.actor())
    return _modified()


@bp.each("post", f"{FILE}/info", ANY_KIND, lambda _kind: Modified)
def post_info_by_name(kind: str, path: FilePath, body: InfoChanged) -> Modified:
    """Change the info of a file of one {kind}, as with PATCH"""
    return change_info_by_name(kind, path, body)


@bp.get("/files/<file_id>/info", responses={200: Info})
def show_info(path: FileIdPath) -> Info:
    """Show the info of a file"""
    return Info(files.get(_row_id(path), authentication.scope()).info)


@bp.patch("/files/<file_id>/info", responses={200: Modified})
def change_info(path: FileIdPath, body: InfoChanged) -> Modified:
    """Change the info of a file: `set`, `replace` and `delete`; without these, all fields are set"""
    file_metadata.change_info(_row_id(path), _info_delta(body), actor=authentication.actor())
    return _modified()


@bp.put("/files/<file_id>/info", responses={200: Info})
def replace_info(path: FileIdPath, body: Info) -> Info:
    """Replace the info of a file"""
    return Info(file_metadata.change_info(_row_id(path), {"replace": body.root}, actor=authentication.actor()))


@bp.each("patch", f"{FILE}/classification", ANY_KIND, lambda _kind: Modified)
def change_classification_by_name(kind: str, path: FilePath, body: ClassificationChanged) -> Modified:
    """Change the classification of a file of one {kind}"""
    file_metadata.change_classification(by_name(kind, path).id, body.model_dump(), actor=authentication.actor())
    return _modified()


@bp.each("post", f"{FILE}/classification", ANY_KIND, lambda _kind: Modified)
def post_classification_by_name(kind: str, path: FilePath, body: ClassificationChanged) -> Modified:
    """Change the classification of a file of one {kind}, as with PATCH"""
    return change_classification_by_name(kind, path, body)


@bp.put("/files/<file_id>/classification", responses={200: Modified})
def change_classification(path: FileIdPath, body: ClassificationChanged) -> Modified:
    """Change the classification of a file"""
    file_metadata.change_classification(_row_id(path), body.model_dump(), actor=authentication.actor())
    return _modified()


@bp.get("/files/<file_id>/tags", responses={200: Tags})
def show_tags(path: FileIdPath) -> Tags:
    """Show the tags of a file"""
    return Tags(files.get(_row_id(path), authentication.scope()).tags)


@bp.put("/files/<file_id>/tags", responses={200: Modified})
def set_tags(path: FileIdPath, body: Tags) -> Modified:
    """Set the tags of a file"""
    file_metadata.change_tags(_row_id(path), lambda _: body.root, actor=authentication.actor())
    return _modified()


@bp.patch("/files/<file_id>/tags", responses={200: Tags})
def add_tags(path: FileIdPath, body: Tags) -> Tags:
    """Add tags to a file; answers all of them"""
    actor = authentication.actor()
    return Tags(file_metadata.change_tags(_row_id(path), lambda tags: [*tags, *body.root], actor=actor))


@bp.delete("/files/<file_id>/tags", responses={200: Tags})
def delete_tags(path: FileIdPath, body: Tags) -> Tags:
    """Remove tags from a file, without a body all; answers those that are left"""

    def kept(tags: list[str]) -> list[str]:
        return [tag for tag in tags if tag not in body.root] if body.root else []

    return Tags(file_metadata.change_tags(_row_id(path), kept, actor=authentication.actor()))


def container(kind: str, container_id: str) -> tuple[str, int]:
    """Kind and row number of a container. Raises Missing."""
    if kind == "container":
        kind, number = rest_ids.decode(container_id)
        if kind not in KINDS:
            raise Missing(f"{container_id} is the id of a {kind}, which has no files of its own.")
        return kind, number
    return kind, rest_ids.row_id(container_id, kind)


def by_name(kind: str, path: FilePath) -> Any:
    """The file at an address. Raises Missing."""
    return files.get_by_name(*container(kind, path.container_id), path.name, authentication.scope())


def shape(row: Any) -> FileShown:
    """A file; its row has its blob. `hash` is the SHA-256 of its bytes in hex."""
    return FileShown(**fields(row))


def fields(row: Any) -> dict[str, Any]:
    """The fields of a file, for models that have more."""
    return {
        "id": rest_ids.encode("file", row.id),
        "file_id": rest_ids.encode("file", row.id),
        "name": row.name,
        "version": row.version,
        "size": row.blob.size,
        "hash": row.blob.digest,
        "mimetype": row.mimetype,
        "type": row.type,
        "modality": row.modality,
        "classification": row.classification,
        "info": row.info,
        "info_exists": bool(row.info),
        "tags": row.tags,
        "zip_member_count": row.zip_member_count,
        "created": row.created,
        "modified": row.modified,
        "origin": answers.origin(row),
        "parent_ref": ParentRef(type=row.parent_type, id=rest_ids.encode(row.parent_type, row.parent_id)),
    }


def details(file: Any, version: int | None) -> FileDetails:
    """A file with the ids of the containers that it is in; with the bytes and the sender of one of its versions."""
    above = containers.get(file.parent_type, file.parent_id, authentication.scope())
    shown = fields(file)
    if version is not None and version != file.version:
        older = versions.get_or_refuse(file, version)
        shown |= {"version": version, "size": older.blob.size, "hash": older.blob.digest}
        shown |= {"origin": answers.origin(older.row), "created": older.created, "modified": older.created}
    own = {file.parent_type: rest_ids.encode(file.parent_type, file.parent_id)}
    return FileDetails(**shown, parents=FileParents(**(parents(above) | own)))


def _version_shape(file_id: str, version: Version) -> FileVersionShown:
    return FileVersionShown(
        file_id=file_id,
        version=version.number,
        size=version.blob.size,
        hash=version.blob.digest,
        created=version.created,
        origin=answers.origin(version.row),
    )


def _row_id(path: FileIdPath) -> int:
    return rest_ids.row_id(path.file_id, "file")


def _info_delta(body: InfoChanged) -> dict[str, Any]:
    delta = body.model_dump(exclude_none=True)
    return delta if delta.keys() <= InfoChanged.model_fields.keys() else {"set": delta}


def _changed(file_id: int, body: FileChanged) -> Modified:
    file_metadata.change(file_id, FileMetadata.parse(body.model_dump()), actor=authentication.actor())
    return _modified()


def _modified() -> Modified:
    return Modified(modified=1, jobs_spawned=0)


def _trashed(file_id: int) -> Trashed:
    trash.move_to_trash("file", file_id, actor=authentication.actor())
    return Trashed(deleted=1)
