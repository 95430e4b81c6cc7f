"""What somebody wants imported, checked and turned into a job's parameters: storage, objects, project."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from portal.errors import BadValue
from portal.imports import path_template
from portal.imports.params import ImportParams
from portal.storage import storages
from portal.storage_drivers import object_keys
from portal.tree import projects

PLACEMENT_SOURCES = ("headers", "manifest", "path")
MAX_PATTERNS = 20
MAX_PATTERN_LENGTH = 200
MAX_PREFIX_BYTES = 1000


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """What is to be imported, as it was written in a form or on a command line."""

    of: str
    """The storage's label."""
    to: str
    """GROUP/PROJECT."""
    prefix: str = ""
    by: str = "headers"
    """What decides where an object belongs: its DICOM header, our own manifest with its sidecars, or its path."""
    path: str = ""
    include: Sequence[str] = ()
    """Patterns such as `*.dcm`, of a name or of a whole path; without any, everything."""
    exclude: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class CheckedRequest:
    """The parameters of an import job, and its title."""

    params: ImportParams
    what: str


def check(requested: ImportRequest) -> CheckedRequest:
    """Raises Missing, NotAllowed or BadValue, with the field of the form."""
    storage = storages.get(requested.of)
    project = projects.get_by_path(requested.to)
    group, label = project.group.code, project.label
    storages.require_import(storage, group, label)
    if requested.by not in PLACEMENT_SOURCES:
        raise BadValue(f"{requested.by[:40]!r} is not one of: {', '.join(PLACEMENT_SOURCES)}.", field="by")
    if requested.path.strip() and requested.by != "path":
        raise BadValue("A path template goes with placement by path only. Leave it empty.", field="path")

    prefix = requested.prefix.strip().rstrip("/")
    parts = prefix.split("/") if prefix else []
    if not object_keys.FORBIDDEN_SEGMENTS.isdisjoint(parts) or "\0" in prefix:
        message = "The prefix must not begin with a slash or have an empty part, . or ..; write it like a/b."
        raise BadValue(message, field="prefix")
    if len(prefix.encode(errors="replace")) > MAX_PREFIX_BYTES or not prefix.isprintable():
        message = f"The prefix has more than {MAX_PREFIX_BYTES:,} bytes or an invisible character."
        raise BadValue(message, field="prefix")

    params = ImportParams(
        storage_id=storage.id,
        storage_label=storage.label,
        project_id=project.id,
        path=f"{group}/{label}",
        prefix=prefix,
        by=requested.by,
        template=str(path_template.parse(requested.path)) if requested.by == "path" else "",
        include=_patterns(requested.include, "include"),
        exclude=_patterns(requested.exclude, "exclude"),
    )
    folder = f"/{prefix}" if prefix else ""
    return CheckedRequest(params=params, what=f"{storage.label}{folder} to {params.path}"[:300])


class KeyFilter:
    """Which keys below the prefix an import takes; its patterns are compiled once for a whole listing."""

    def __init__(self, params: ImportParams) -> None:
        self._folder = f"{params.prefix}/"
        self._include, self._exclude = (
            {pattern: re.compile(fnmatch.translate(pattern), re.IGNORECASE) for pattern in patterns}
            for patterns in (params.include, params.exclude)
        )

    def exclusion_reason(self, key: str) -> str:
        """Why an object is not imported; empty if it is."""
        path = key.removeprefix(self._folder)
        texts = (path, path.rpartition("/")[2])
        if self._include and not any(regex.match(text) for regex in self._include.values() for text in texts):
            return "Not matched by any include pattern."
        excluding = (pattern for pattern, regex in self._exclude.items() if any(map(regex.match, texts)))
        pattern = next(excluding, None)
        return f"Excluded by {pattern}" if pattern else ""


def _patterns(given: Sequence[str], field: str) -> list[str]:
    patterns = [text.strip() for text in given if text.strip()]
    if len(patterns) > MAX_PATTERNS or any(len(text) > MAX_PATTERN_LENGTH for text in patterns):
        message = f"Enter at most {MAX_PATTERNS} patterns of at most {MAX_PATTERN_LENGTH} characters each."
        raise BadValue(message, field=field)
    return patterns
