"""Projects: created, edited, found by `GROUP/PROJECT`."""

import unicodedata
from typing import Any

from portal import listing, site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.access.rights import UNKNOWN_GROUP
from portal.dicom import ae_titles
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.listing import ListInParts, PageRequest
from portal.models import Group, Project, Storage, now, writing
from portal.tree import containers, groups, labels, rest_ids
from portal.tree.containers import NOTHING_SAID, Said

UNSORTED = "Unsorted"
_SYSTEM = Actor(type="system", name="portico", via="portal", is_admin=True)


def add(path: str, ae_title: str | None = None, *, said: Said = NOTHING_SAID, actor: Actor) -> Project:
    """Create a project by `GROUP/PROJECT`, with an AE title of its own if one is given, which site admins alone do."""
    code, label = _split(path)
    if code == UNKNOWN_GROUP:
        raise NotAllowed(f"{groups.RESERVED} Use another group.", field="group")
    label = labels.clean(label)
    title = ae_titles.clean(ae_title) if ae_title else None
    with writing():
        known: Group | None = Group.get_or_none(Group.code == code)
        rights.require_project_creator(actor, known.id if known else 0)
        group = groups.get(code, actor=actor)
        if title:
            rights.require_admin(actor)
        _refuse_taken_label(group, label)
        _refuse_taken_title(title)
        project = Project(group=group, label=label, ae_title=title, **said.columns, **actor.origin.fields)
        containers.insert(project, "project", actor, path=f"{code}/{label}", ae_title=title)
    return project


def add_in_new_group(code: str, label: str, ae_title: str | None = None, *, actor: Actor) -> Project:
    """Create a group with its first project: both, or none of them."""
    with writing():
        groups.add(code, actor=actor)
        return add(f"{code}/{label}", ae_title, actor=actor)


def edit(project_id: int, *, label: str, ae_title: str, actor: Actor) -> Project:
    """Give a project another label or AE title; an empty title removes the one it has. Site admins alone change titles.

    Storages that only this project may use follow its new path. Raises Missing, BadValue, Taken, and NotAllowed for a
    project of the reserved group.
    """
    if not rights.scope(actor).reads(project_id):
        raise Missing("There is no project with this number.")
    rights.require_manager(actor, project_id)
    label = labels.clean(label)
    title = ae_titles.clean(ae_title) if ae_title.strip() else None
    with writing():
        project = _editable(project_id)
        before, after = {"label": project.label, "ae_title": project.ae_title}, {"label": label, "ae_title": title}
        changed = {name: value for name, value in after.items() if value != before[name]}
        if not changed:
            return project
        code = project.group.code
        if "label" in changed:
            _refuse_taken_label(project.group, label)
        if "ae_title" in changed:
            rights.require_admin(actor)
            _refuse_taken_title(title)
        Project.update(**changed, modified=now()).where(Project.id == project.id).execute()
        moved = Storage.update(visible=f"project:{code}/{label}", modified=now())
        moved.where(Storage.visible == f"project:{code}/{project.label}").execute()
        replaced = {name: before[name] for name in changed}
        audit.record(actor, "project:changed", "project", project.id, before=replaced, after=changed)
    return _editable(project_id)


def get_or_add(group: Group, label: str) -> Project:
    """The project of this label, created by the system where there is none; inside the caller's write block."""
    found: Project | None = Project.get_or_none(Project.group == group, Project.label == label)
    if found is not None:
        return found
    project = Project(group=group, label=label, **_SYSTEM.origin.fields)
    containers.insert(project, "project", _SYSTEM, path=f"{group.code}/{label}")
    return project


def ensure_unsorted() -> Project:
    """The project `unknown/Unsorted`, for what could not be placed; created when it is first needed."""
    found = _find(UNKNOWN_GROUP, UNSORTED)
    if found is not None:
        return found
    with writing():
        if (found := _find(UNKNOWN_GROUP, UNSORTED)) is not None:
            return found
        group = Group(code=UNKNOWN_GROUP, label="Unknown", **_SYSTEM.origin.fields)
        containers.insert(group, "group", _SYSTEM, code=UNKNOWN_GROUP)
        project = Project(group=group, label=UNSORTED, **_SYSTEM.origin.fields)
        containers.insert(project, "project", _SYSTEM, path=f"{UNKNOWN_GROUP}/{UNSORTED}")
    return project


def get_by_path(path: str) -> Project:
    """The project `GROUP/PROJECT`. Raises Missing if there is none; checks no rights."""
    code, label = _split(path)
    project = _find(code, label)
    if project is None:
        raise Missing(f"There is no project {path[:100]!r}. Write it as GROUP/PROJECT.", field="project")
    return project


def path_of(project_id: int) -> str:
    """`GROUP/PROJECT` with its present labels; checks no rights. Raises Missing."""
    project = Project.select(Project, Group).join(Group).where(Project.id == project_id).get_or_none()
    if project is None:
        raise Missing("The project no longer exists.")
    return f"{project.group.code}/{project.label}"


def find_in_group(code: str, page: PageRequest, *, actor: Actor) -> ListInParts[Any]:
    """The projects of a group that the actor may read."""
    group = groups.get(code, actor=actor)
    readable = containers.in_scope("project", rights.scope(actor))
    return listing.find_ids(readable.where(Project.group == group), Project, page)


def _find(code: str, label: str) -> Project | None:
    query = Project.select(Project, Group).join(Group).where(Group.code == code, Project.label == label)
    project: Project | None = query.get_or_none()
    return project


def _split(path: str) -> tuple[str, str]:
    """Group code and project label."""
    code, slash, label = path.partition("/")
    if not slash:
        raise BadValue(f"{path[:100]!r} names no project. Write it as GROUP/PROJECT.", field="project")
    return code, unicodedata.normalize("NFC", label)


def _editable(project_id: int) -> Project:
    project: Project | None = Project.select(Project, Group).join(Group).where(Project.id == project_id).get_or_none()
    if project is None:
        raise Missing("There is no project with this number.")
    if project.group.code == UNKNOWN_GROUP:
        raise NotAllowed(f"{groups.RESERVED} Its projects keep their names.", field="label")
    return project


def _refuse_taken_label(group: Group, label: str) -> None:
    """Raise Taken for a label of another project, or of a former one to which a storage is still visible."""
    same: Project | None = Project.get_or_none(Project.group == group, Project.label == label)
    if same is not None:
        message, existing = f"There is a project {group.code}/{label} already.", rest_ids.encode("project", same.id)
        raise Taken(message, field="label", existing=existing)
    storage: Storage | None = Storage.get_or_none(Storage.visible == f"project:{group.code}/{label}")
    if storage is not None:
        message = f"The storage {storage.label} is kept for a former project {group.code}/{label}. Use another label."
        raise Taken(message, field="label")


def _refuse_taken_title(title: str | None) -> None:
    """A called AE title selects one project, or the site, so no two may have the same one (docs/decisions/0081)."""
    if title is None:
        return
    if title == site_settings.get("dimse.ae_title"):
        raise Taken(f"{title} is the site's own AE title; a project needs another one.", field="ae_title")
    if Project.select().where(Project.ae_title == title).exists():
        raise Taken(f"Another project has the AE title {title}.", field="ae_title")
