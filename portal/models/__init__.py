"""The tables, by noun; nothing outside this package knows SQL."""

from portal.models.base import Owned, Table, bind, connection, database, now, writing
from portal.models.index import ALTERNATE, CURRENT, HELD, SUPERSEDED, Conflict, Decision, Instance, Series, Study
from portal.models.interfaces import Association, Caller, Peer, Storage
from portal.models.people import ApiKey, Device, Grant, Secret, User
from portal.models.site import Audit, Setting
from portal.models.tree import Acquisition, Blob, File, FileVersion, Group, Project, Session, Subject
from portal.models.work import Job, JobItem

TABLES: tuple[type[Table], ...] = (
    Group,
    Project,
    Subject,
    Session,
    Acquisition,
    Blob,
    File,
    FileVersion,
    Study,
    Series,
    Instance,
    Conflict,
    Decision,
    User,
    Device,
    ApiKey,
    Grant,
    Secret,
    Peer,
    Caller,
    Association,
    Storage,
    Job,
    JobItem,
    Setting,
    Audit,
)

__all__ = [
    "ALTERNATE",
    "CURRENT",
    "HELD",
    "SUPERSEDED",
    "TABLES",
    "Acquisition",
    "ApiKey",
    "Association",
    "Audit",
    "Blob",
    "Caller",
    "Conflict",
    "Decision",
    "Device",
    "File",
    "FileVersion",
    "Grant",
    "Group",
    "Instance",
    "Job",
    "JobItem",
    "Owned",
    "Peer",
    "Project",
    "Secret",
    "Series",
    "Session",
    "Setting",
    "Storage",
    "Study",
    "Subject",
    "Table",
    "User",
    "bind",
    "connection",
    "database",
    "now",
    "writing",
]
