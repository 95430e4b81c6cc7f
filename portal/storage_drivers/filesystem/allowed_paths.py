"""Folders of this machine that a file-system storage may use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.errors import BadValue
from portal.storage_drivers.form_fields import Field

FORM = (
    Field(
        name="path",
        label="Folder",
        hint="On this server, under one of the folders that the site allows.",
        role="place",
        is_wide=True,
    ),
)


@dataclass(frozen=True, kw_only=True)
class AllowedFolders:
    """What the site's settings allow: folders under one of the roots, but not among its own data."""

    data: Path
    roots: tuple[Path, ...]


def clean(config: dict[str, Any], allowed: AllowedFolders) -> dict[str, Any]:
    """The configuration of a file-system storage, its path resolved. Raises BadValue for one outside the roots.

    A missing folder is created only below our own data; elsewhere it must exist, for it may be a disk not mounted.
    """
    folder, _root = resolve(str(config.get("path") or ""), allowed)
    try:
        if folder.is_relative_to(allowed.data / "storage"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_file = folder.exists() and not folder.is_dir()
    except FileExistsError:
        is_file = True
    except OSError as error:
        raise BadValue(f"{str(folder)[:200]} cannot be used: {error.strerror}.", field="path") from error
    if is_file:
        raise BadValue(f"{folder} is a file; enter a folder.", field="path")
    return {"path": str(folder)}


def resolve(text: str, allowed: AllowedFolders) -> tuple[Path, Path]:
    """The folder with all links resolved, and the root that contains it. Raises BadValue if there is none."""
    if not text.strip():
        raise BadValue("A file-system storage needs the path of a folder.", field="path")
    path = Path(text.strip())
    if not path.is_absolute() or "\0" in text:
        raise BadValue(f"{text[:80]!r} is not an absolute path; it begins with a slash.", field="path")
    try:
        folder = path.resolve()
    except (OSError, RuntimeError) as error:
        raise BadValue(f"{text[:200]} cannot be resolved; check its links.", field="path") from error

    roots = [root.resolve() for root in allowed.roots]
    root = next((root for root in roots if folder.is_relative_to(root)), None)
    if root is None:
        names = ", ".join(str(root) for root in roots) or "none"
        raise BadValue(f"{str(folder)[:200]} is outside the folders that this site allows ({names}).", field="path")

    # Else the site's keys, rows or archive would be read as objects, or written among.
    data = allowed.data.resolve()
    if data.is_relative_to(folder) or (folder.is_relative_to(data) and not folder.is_relative_to(data / "storage")):
        raise BadValue(f"{str(folder)[:200]} contains Portico's own data. Choose another folder.", field="path")
    return folder, root
