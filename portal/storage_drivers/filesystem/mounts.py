"""Where a folder's disk is mounted: that tells a bare folder from the disk that should be mounted in its place."""

import os
import re


def mount_id(folder: int) -> bytes:
    """The id of the mount through which an open folder was reached; another mount may have it later."""
    with open(f"/proc/self/fdinfo/{folder}", "rb") as lines:
        fields = (line.split() for line in lines)
        return next((value for name, value, *_rest in fields if name == b"mnt_id:"), b"")


def mount_point(mount: bytes) -> str:
    """The folder at which the disk of a mount is mounted; empty for the system's own disk, or where it is unknown.

    A mount of a folder of the disk that is there anyway does not count: a service manager makes one for each folder
    that its service may write to, whether a disk is mounted there or not.
    """
    mounts = _all_mounts()
    while mount in mounts:
        above, device, place, _type = mounts.pop(mount)
        if above in mounts and mounts[above][1] != device:
            return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), place))
        mount = above
    return ""


def file_system_type(mount: bytes) -> str:
    """The file system of a mount, such as ext4; empty where it is unknown."""
    fields = _all_mounts().get(mount)
    return os.fsdecode(fields[3]) if fields else ""


def _all_mounts() -> dict[bytes, tuple[bytes, bytes, bytes, bytes]]:
    """By id: the parent mount, its device, its folder as the kernel writes it, its file system (proc(5))."""
    with open("/proc/self/mountinfo", "rb") as lines:
        fields = (line.split(b" ", 5) for line in lines)
        return {
            own: (above, device, place, rest.partition(b" - ")[2].partition(b" ")[0])
            for own, above, device, _root, place, rest in fields
        }
