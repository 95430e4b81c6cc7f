"""What somebody wants imported, checked: from where, which objects, into what; kept as a job's parameters."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from portal.errors import BadValue
from portal.imports import path_template
from portal.storage import storages
from portal.storage_drivers import object_keys
from portal.tree import projects

PLACEMENT_SOURCES = ("headers", "manifest", "path")
MAX_PATTERNS = 20
MAX_PATTERN_LENGTH = 200
MAX_PREFIX_BYTES = 1000


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """What is to be imported. Each is as it was written in a form or on a command line."""

    of: str
    """The storage's label."""
    to: str
    """GROUP/PROJECT."""
    prefix: str = ""
    by: str = "headers"
    """What says where an object belongs: its DICOM header, our own manifest with its sidecars, or its path."""
    path: str = ""
    include: Sequence[str] = ()
    """Patterns such as `*.dcm`, of a name or of a whole path; without any, everything."""
    exclude: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class CheckedRequest:
    params: dict[str, Any]
    what: str


def check(wanted: ImportRequest) -> CheckedRequest:
    """Raises Missing, NotAllowed or BadValue, with the field of the form."""
    storage = storages.get(wanted.of)
    project = projects.get_by_path(wanted.to)
    group, label = project.group.code, project.label
    storages.require_import(storage, group, label)
    if wanted.by not in PLACEMENT_SOURCES:
        raise BadValue(f"{wanted.by[:40]!r} is none of: {', '.join(PLACEMENT_SOURCES)}.", field="by")
    if wanted.path.strip() and wanted.by != "path":
        raise BadValue("A path is only read where the path says where objects belong.", field="path")
    params = {
        "storage": storage.id,
        "of": storage.label,
        "project": project.id,
        "path": f"{group}/{label}",
        "prefix": _prefix(wanted.prefix),
        "by": wanted.by,
        "template": str(path_template.parse(wanted.path)) if wanted.by == "path" else "",
        "include": _patterns(wanted.include, "include"),
        "exclude": _patterns(wanted.exclude, "exclude"),
    }
    beginning = f"/{params['prefix']}" if params["prefix"] else ""
    return CheckedRequest(params=params, what=f"{storage.label}{beginning} to {params['path']}"[:300])


def exclusion_reason(params: Mapping[str, Any], key: str) -> str:
    """Why an object is not wanted; empty where it is."""
    path = key.removeprefix(f"{params['prefix']}/")
    if params["include"] and not any(_matches(pattern, path) for pattern in params["include"]):
        return "No pattern includes it."
    found = next((pattern for pattern in params["exclude"] if _matches(pattern, path)), None)
    return f"Left out by {found}" if found else ""


def _matches(pattern: str, path: str) -> bool:
    compiled = _compiled(pattern)
    return bool(compiled.match(path) or compiled.match(path.rpartition("/")[2]))


@lru_cache(maxsize=2 * MAX_PATTERNS)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern), re.IGNORECASE)


def _patterns(given: Sequence[str], field: str) -> list[str]:
    patterns = [text.strip() for text in given if text.strip()]
    if len(patterns) > MAX_PATTERNS or any(len(text) > MAX_PATTERN_LENGTH for text in patterns):
        message = f"There are at most {MAX_PATTERNS} patterns, each of at most {MAX_PATTERN_LENGTH} characters."
        raise BadValue(message, field=field)
    return patterns


def _prefix(text: str) -> str:
    prefix = text.strip().rstrip("/")
    parts = prefix.split("/") if prefix else []
    if not object_keys.FORBIDDEN_SEGMENTS.isdisjoint(parts) or "\0" in prefix:
        raise BadValue(
            "The prefix begins with a slash, or has an empty part, . or ..; write it like a/b.", field="prefix"
        )
    if len(prefix.encode(errors="replace")) > MAX_PREFIX_BYTES or not prefix.isprintable():
        message = f"The prefix has more than {MAX_PREFIX_BYTES:,} bytes, or a character that cannot be seen."
        raise BadValue(message, field="prefix")
    return prefix
