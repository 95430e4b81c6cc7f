"""Where a folder's disk is mounted: by that a bare folder is told from the disk that should stand there."""

import os
import re


def mount_id(folder: int) -> bytes:
    """The number of the mount through which an open folder was reached; it may be another mount's later."""
    with open(f"/proc/self/fdinfo/{folder}", "rb") as lines:
        fields = (line.split() for line in lines)
        return next((value for name, value, *_rest in fields if name == b"mnt_id:"), b"")


def mount_point(mount: bytes) -> str:
    """The folder at which the disk of a mount is mounted; empty where it is that of the system, or cannot be told.

    A mount of a folder of the disk that is there anyway is none of a disk: a service manager makes one of each folder
    that its service may write to, whether a disk is mounted there or not.
    """
    mounts = _all()
    while mount in mounts:
        above, device, place, _kind = mounts.pop(mount)
        if above in mounts and mounts[above][1] != device:
            return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), place))
        mount = above
    return ""


def file_system_type(mount: bytes) -> str:
    """The kind of file system of a mount, such as ext4; empty where it cannot be told."""
    found = _all().get(mount)
    return os.fsdecode(found[3]) if found else ""


def _all() -> dict[bytes, tuple[bytes, bytes, bytes, bytes]]:
    """By number: the mount on which it stands, its device, its folder as the kernel writes it, its kind (proc(5))."""
    with open("/proc/self/mountinfo", "rb") as lines:
        fields = (line.split(b" ", 5) for line in lines)
        return {
            own: (above, device, place, rest.partition(b" - ")[2].partition(b" ")[0])
            for own, above, device, _root, place, rest in fields
        }
