import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portal import runtime
from portal.access.actors import Actor
from portal.errors import BadValue, Damaged, Missing, NotAllowed, PortalError, Taken
from portal.jobs.runs import Stopped
from portal.models import Storage
from portal.settings import Settings
from portal.storage import providers, storages
from portal.storage_drivers import object_keys
from portal.storage_drivers.destination import READ_BACK_DIFFERS, SOURCE_DAMAGED, Destination, Stat
from portal.storage_drivers.filesystem import destination as filesystem_destination
from portal.storage_drivers.filesystem import mounts, temporary_files
from portal.storage_drivers.filesystem.driver import FileSystemStore
from portal.storage_drivers.store import ContainerMissing
from tests.fixtures.work import content_of, files_below

CONTENT = b"some bytes of an image"


def put(destination: Destination, key: str, content: bytes = CONTENT) -> None:
    destination.put(key, [content], size=len(content), digest=hashlib.sha256(content).hexdigest())


def opened(mirror: Storage, **options: bool) -> Destination:
    """The storage as the site opens it, with other abilities of its file system."""
    return filesystem_destination.open_destination(
        mirror.config, mirror.prefix, {}, allowed=providers.allowed_folders(), **options
    )


PLAIN = {"unnamed": False, "together": False}
"""A file system that has no files without a name, and of which each file is synced by itself."""


@pytest.fixture(params=[{}, PLAIN], ids=["usual", "plain"])
def destination(request: pytest.FixtureRequest, mirror: Storage) -> Destination:
    return opened(mirror, **request.param)


@pytest.fixture
def plain(mirror: Storage) -> Destination:
    return opened(mirror, **PLAIN)


@pytest.mark.parametrize("size", [0, 1000, 1_000_000, 64_000_000])
def test_an_object_of_any_size_comes_back_as_it_was(size: int, destination: Destination) -> None:
    content = os.urandom(size)
    put(destination, "a/b/object", content)
    assert destination.stat("a/b/object") == Stat("a/b/object", size)
    assert b"".join(destination.read("a/b/object")) == content
    assert destination.digest("a/b/object") == (size, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("name", ["with space", "Müller", "+&%#", "a" * 255, "日本", "-rf", "~", "...", "a\nb", "'\""])
def test_an_object_of_an_odd_name_is_written_listed_and_deleted(name: str, destination: Destination) -> None:
    put(destination, f"folder/{name}")
    assert list(destination.list()) == [Stat(f"folder/{name}", len(CONTENT))]
    destination.delete(f"folder/{name}")
    assert destination.stat(f"folder/{name}") is None


@pytest.mark.parametrize("key", ["../evil", "a/../../evil", "/etc/evil", "", "a//b", ".", "a/.", "a" * 256, "a\0b"])
def test_a_key_that_could_lead_elsewhere_is_refused(key: str, destination: Destination, folder: Path) -> None:
    with pytest.raises(BadValue, match="cannot be the name of an object"):
        put(destination, key)
    assert files_below(folder.parent) == {}


def test_an_object_is_never_overwritten(destination: Destination) -> None:
    put(destination, "a/object")
    with pytest.raises(Taken):
        put(destination, "a/object", b"other")
    assert b"".join(destination.read("a/object")) == CONTENT


def test_of_many_writers_of_one_object_one_wins_and_its_content_is_whole(
    destination: Destination, folder: Path
) -> None:
    contents = [os.urandom(300_000) for _writer in range(8)]
    won: list[bytes] = []
    start = threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        start.wait()
        try:
            put(destination, "contested/object", content)
            won.append(content)
        except PortalError:
            return

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) <= 1
    there = destination.stat("contested/object")
    assert (there is not None) == bool(won)
    if won:
        assert b"".join(destination.read("contested/object")) == won[0]
    assert set(files_below(folder)) <= {"contested/object"}


def test_a_source_that_breaks_off_leaves_nothing(destination: Destination, folder: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise Damaged("gone")

    with pytest.raises(Damaged, match="gone"):
        destination.put("a/object", broken(), size=8, digest="")
    assert files_below(folder) == {}


def test_bytes_that_are_not_what_was_announced_never_appear(destination: Destination, folder: Path) -> None:
    with pytest.raises(Damaged, match="differ from those that were received"):
        destination.put("object", [CONTENT], size=len(CONTENT), digest=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(Damaged):
        destination.put("object", [CONTENT], size=3, digest=hashlib.sha256(CONTENT).hexdigest())
    assert files_below(folder) == {}


def test_what_a_killed_writer_left_is_not_listed_and_goes_with_the_next_write(plain: Destination, folder: Path) -> None:
    left = folder / f".portico-{hashlib.sha256(b'object').hexdigest()[:16]}.part"
    left.write_bytes(b"half")
    assert list(plain.list()) == []
    put(plain, "object")
    assert list(files_below(folder)) == ["object"]


def test_what_a_writer_left_that_was_killed_at_its_last_step_goes_with_the_next_look(
    plain: Destination, folder: Path
) -> None:
    put(plain, "object")
    os.link(folder / "object", folder / f".portico-{hashlib.sha256(b'object').hexdigest()[:16]}.part")
    assert plain.stat("object") is not None
    assert list(files_below(folder)) == ["object"]


def test_of_objects_that_are_delivered_together_each_ends_for_itself(destination: Destination, folder: Path) -> None:
    put(destination, "a/same")
    put(destination, "a/other", b"other")
    broken = content_of("b/short", CONTENT)
    broken.size += 1
    contents = [
        *(content_of(f"a/{number}", os.urandom(number * 10_000), pieces=3) for number in range(20)),
        content_of("a/same", CONTENT),
        content_of("a/other", CONTENT),
        content_of("../evil", CONTENT),
        content_of("b/damaged", CONTENT, digest=hashlib.sha256(b"as it was").hexdigest()),
        broken,
        content_of("a/other/below a file", CONTENT),
        *(content_of(f"{number}/deep/down", CONTENT) for number in range(5)),
    ]
    open_before = len(os.listdir("/proc/self/fd"))
    errors = destination.deliver(contents, overwrite=False)
    assert len(os.listdir("/proc/self/fd")) == open_before
    told = {content.key: error.message for content, error in zip(contents, errors, strict=True) if error}
    assert told.pop("a/other").startswith("An object with different content has this key")
    assert told.pop("../evil").endswith("cannot be the name of an object.")
    assert told.pop("b/damaged") == told.pop("b/short") == SOURCE_DAMAGED
    assert "a link in place of a folder" in told.pop("a/other/below a file")
    assert told == {}
    arrived = files_below(folder)
    assert arrived.pop("a/other") == hashlib.sha256(b"other").hexdigest()
    assert arrived == {content.key: content.digest for content in contents if content.key in arrived}
    assert len(arrived) == 26


def test_what_is_not_the_bytes_that_were_written_never_appears_and_the_archive_is_not_blamed(
    destination: Destination, folder: Path
) -> None:
    readings = iter([b"bytes that changed on the way", CONTENT])
    content = content_of("object", CONTENT)
    content.chunks = lambda: iter([next(readings)[: len(CONTENT)]])
    [error] = destination.deliver([content, content_of("second", CONTENT)], overwrite=False)[:1]
    assert error is not None
    assert error.message == READ_BACK_DIFFERS
    assert list(files_below(folder)) == ["second"]


def test_a_run_that_is_stopped_in_the_middle_leaves_nothing_of_what_it_wrote(
    destination: Destination, folder: Path
) -> None:
    def stopped() -> Iterator[bytes]:
        yield CONTENT[:3]
        raise Stopped

    last = content_of("b", CONTENT)
    last.chunks = stopped
    with pytest.raises(Stopped):
        destination.deliver([content_of("a", CONTENT), last], overwrite=False)
    assert files_below(folder) == {}


@pytest.mark.parametrize(("path", "kind"), [("/proc", "proc"), ("/dev/shm", "tmpfs")])
def test_the_kind_of_a_file_system_is_known(path: str, kind: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        assert mounts.file_system_type(mounts.mount_id(folder)) == kind
    finally:
        os.close(folder)
    assert mounts.file_system_type(b"no number") == ""


@pytest.mark.parametrize(
    ("kind", "is_known"), [("ext4", True), ("xfs", True), ("nfs4", False), ("fuse", False), ("", False)]
)
def test_only_file_systems_that_are_known_for_it_are_synced_as_a_whole(kind: str, is_known: bool) -> None:
    assert temporary_files.syncs_whole_file_system(kind, "6.1.0-30-amd64") is is_known
    assert not temporary_files.syncs_whole_file_system(kind, "5.7.19")


def test_files_and_folders_are_for_the_account_of_the_site_alone(destination: Destination, folder: Path) -> None:
    umask = os.umask(0)
    try:
        put(destination, "a/b/object")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((folder / "a/b/object").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "a").stat().st_mode) == stat.S_IMODE((folder / "a/b").stat().st_mode) == 0o700


@pytest.mark.parametrize("key", ["link/object", "link/deeper/object", "a/link2/object"])
def test_a_link_within_a_key_is_never_followed(
    key: str, destination: Destination, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "deeper").mkdir(parents=True)
    (outside / "object").write_bytes(b"secret")
    (folder / "link").symlink_to(outside)
    (folder / "a").mkdir()
    (folder / "a/link2").symlink_to(outside)
    for attempt in (lambda: put(destination, key), lambda: list(destination.read(key)), lambda: destination.stat(key)):
        with pytest.raises(BadValue, match="a link in place of a folder"):
            attempt()
    with pytest.raises(BadValue):
        destination.delete(key)
    assert files_below(outside) == {"object": hashlib.sha256(b"secret").hexdigest()}
    assert list(destination.list()) == []


def test_a_link_at_the_place_of_an_object_is_neither_read_nor_overwritten(
    destination: Destination, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "object").symlink_to(tmp_path / "secret")
    with pytest.raises(BadValue, match="exists, but is not a file"):
        destination.digest("object")
    with pytest.raises(Taken):
        put(destination, "object")
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_link_that_replaces_the_storages_own_folder_is_not_followed(
    destination: Destination, folder: Path, tmp_path: Path
) -> None:
    put(destination, "object")
    outside = tmp_path / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    with pytest.raises(PortalError, match="link in place of a folder"):
        put(destination, "second")
    assert list(files_below(outside)) == ["object"]


def test_only_keys_that_begin_with_the_prefix_are_listed(destination: Destination) -> None:
    for key in ("a/1", "a/b/2", "ab/3", "c"):
        put(destination, key)
    assert {found.key for found in destination.list("a/")} == {"a/1", "a/b/2"}
    assert {found.key for found in destination.list("a")} == {"a/1", "a/b/2", "ab/3"}
    assert list(destination.list("nothing/here")) == []


def test_a_disk_that_is_mounted_read_only_can_be_read(folder: Path) -> None:
    folder.mkdir(parents=True)
    own = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    mount = (
        'mount -t tmpfs small "$1" && printf hello > "$1/a.txt" && mount -o remount,ro "$1" && exec "$2" -c "$3" "$1"'
    )
    look = (
        "import sys, pathlib; from portal.storage_drivers.filesystem.driver import FileSystemStore;"
        "store = FileSystemStore(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]));"
        "print([b''.join(store.read(found.key, 0, None)) for page in store.pages('', '') for found in page])"
    )
    program = shutil.which("unshare") or "unshare"
    command = [program, *own, "sh", "-c", mount, "sh", str(folder), sys.executable, look]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (found.stdout, found.stderr) == ("[b'hello']\n", "")


def test_a_file_of_a_moment_that_no_calendar_has_is_listed() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        path = Path(name) / "a"
        path.write_bytes(b"a")
        os.utime(path, (1e12, 1e12))
        assert [list(page) for page in FileSystemStore(Path(name), Path(name)).pages("", "")] == [[Stat("a", 1)]]


def test_folders_that_lie_too_deep_are_named(folder: Path) -> None:
    folder.mkdir(parents=True)
    deepest = os.open(folder, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=deepest)
        above, deepest = deepest, os.open("d", os.O_RDONLY, dir_fd=deepest)
        os.close(above)
    os.close(deepest)
    with pytest.raises(BadValue, match="more than 200 folders deep"):
        list(FileSystemStore(folder, folder).pages("", ""))


def test_a_missing_object_is_missing(destination: Destination) -> None:
    assert destination.stat("a/b") is None
    for attempt in (lambda: list(destination.read("a/b")), lambda: destination.delete("a/b")):
        with pytest.raises(Missing):
            attempt()


def test_a_folder_that_is_not_mounted_is_said_and_never_made(destination: Destination, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(ContainerMissing, match="Mount its disk or create it") as raised:
        put(destination, "object")
    assert not raised.value.permanent
    assert not folder.exists()


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Visit 1", "Visit 1"),
        ("a/b\\c", "a_b_c"),
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        ("  x. ", "x"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("a:b?c*d", "a_b_c_d"),
        ("Mu\u0308ller", "Müller"),
        ("tab\there\x00", "tab_here_"),
        ("bad\udcffbyte", "bad_byte"),
        ("ä" * 200 + ".dcm", "ä" * 125 + ".dcm"),
    ],
)
def test_a_label_becomes_a_segment_that_every_store_takes(label: str, expected: str) -> None:
    assert object_keys.segment(label) == expected
    assert 1 <= len(object_keys.segment(label).encode()) <= 255


def test_a_segment_told_apart_keeps_its_ending_and_its_limit() -> None:
    assert object_keys.with_row_number("scan.dcm", 42) == "scan~0000002a.dcm"
    assert len(object_keys.with_row_number("ä" * 127, 42).encode()) <= 255


def test_a_storage_stands_in_the_list_with_what_was_given(mirror: Storage, folder: Path) -> None:
    view = storages.view(storages.get("mirror"))
    assert (view["provider"], view["path"], view["mode"], view["visible"]) == ("fs", str(folder), "both", "site")
    assert (view["state"], view["prefix"]) == ("untested", "")
    assert folder.is_dir()


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize(
    ("change", "error", "words", "field"),
    [
        ({"label": "mirror"}, Taken, "A storage mirror already exists", "label"),
        ({"label": ""}, BadValue, "at least one visible character", "label"),
        ({"label": "x" * 65}, BadValue, "more than 64 characters", "label"),
        ({"provider": "gcs"}, BadValue, "has no path", "path"),
        ({"provider": "ftp"}, BadValue, "is not a storage provider", "provider"),
        ({"path": ""}, BadValue, "needs the path of a folder", "path"),
        ({"path": "relative/folder"}, BadValue, "begins with a slash", "path"),
        ({"path": "/etc"}, BadValue, "outside the folders that this site allows", "path"),
        ({"path": "/"}, BadValue, "outside the folders", "path"),
        ({"path": "{root}/../../.."}, BadValue, "outside the folders", "path"),
        ({"path": "{root}/a\0b"}, BadValue, "not an absolute path", "path"),
        ({"path": "{root}/leak"}, BadValue, "outside the folders", "path"),
        ({"path": "{root}/file"}, BadValue, "is a file", "path"),
        ({"path": "{root}/" + "x" * 300}, BadValue, "File name too long", "path"),
        ({"prefix": "../up"}, BadValue, "empty part, . or ..", "prefix"),
        ({"prefix": "/absolute"}, BadValue, "begins with a slash", "prefix"),
        ({"prefix": "a//b"}, BadValue, "empty part", "prefix"),
        ({"prefix": "a" * 256}, BadValue, "more than 255 bytes", "prefix"),
        ({"prefix": "a:b"}, BadValue, "Not every store accepts", "prefix"),
        ({"mode": "write"}, BadValue, "is not a mode", "mode"),
        ({"visible": "everyone"}, BadValue, "Visible must be one of", "visible"),
        ({"visible": "group:nothing"}, BadValue, "There is no group", "visible"),
        ({"visible": "project:a/b"}, BadValue, "There is no project", "visible"),
        ({"visible": "site:"}, BadValue, "Visible must be one of", "visible"),
    ],
)
def test_a_form_that_does_not_fit_is_refused_at_its_field_and_changes_nothing(
    change: dict[str, str],
    error: type[PortalError],
    words: str,
    field: str,
    site: Settings,
    tmp_path: Path,
    admin: Actor,
) -> None:
    root = site.data / "storage"
    (root / "leak").symlink_to(tmp_path)
    (root / "file").write_bytes(b"")
    values = {"label": "second", "provider": "fs", "path": str(root / "second")} | change
    values["path"] = values["path"].replace("{root}", str(root))
    with pytest.raises(error, match=words) as caught:
        storages.add(values.pop("label"), values.pop("provider"), actor=admin, **values)
    assert caught.value.field == field
    assert [row.label for row in storages.list_all()] == ["mirror"]


@pytest.mark.parametrize("below", ["", "data", "data/archive", "data/keys"])
def test_the_sites_own_folders_are_no_storage_whatever_the_operator_allows(
    below: str, site: Settings, admin: Actor
) -> None:
    runtime.start(replace(site, storage_roots=(site.data.parent,)))
    path = site.data.parent / below.replace("data", site.data.name)
    with pytest.raises(BadValue, match="contains Portico's own data") as caught:
        storages.add("second", "fs", path=str(path), mode="both", actor=admin)
    assert caught.value.field == "path"


def test_a_storage_may_be_for_one_group_or_one_project(project: object, folder: Path, admin: Actor) -> None:
    assert storages.add("a", "fs", path=str(folder), visible="group:lab", actor=admin).visible == "group:lab"
    assert storages.add("b", "fs", path=str(folder), visible="project:lab/Trial", actor=admin).id


def test_an_edited_storage_is_untested_again_where_its_place_changed(
    mirror: Storage, site: Settings, admin: Actor
) -> None:
    storages.record_test(mirror.id, state="ok", message="fine")
    assert storages.edit("mirror", label="copy", actor=admin).state == "ok"
    row = storages.edit("copy", path=str(site.data / "storage" / "elsewhere"), actor=admin)
    assert (row.label, row.state) == ("copy", "untested")
    with pytest.raises(Missing):
        storages.get("mirror")


def test_a_removed_storage_is_gone_and_what_lies_there_stays(mirror: Storage, folder: Path, admin: Actor) -> None:
    (folder / "object").write_bytes(b"x")
    storages.remove("mirror", actor=admin)
    assert storages.list_all() == []
    assert (folder / "object").exists()
    with pytest.raises(Missing, match="There is no storage 'mirror'"):
        storages.remove("mirror", actor=admin)


def test_only_an_admin_changes_storages(mirror: Storage, folder: Path) -> None:
    other = Actor(type="user", id="2", name="b@site.example")
    with pytest.raises(NotAllowed):
        storages.add("x", "fs", path=str(folder), actor=other)
    with pytest.raises(NotAllowed):
        storages.edit("mirror", mode="both", actor=other)
    with pytest.raises(NotAllowed):
        storages.remove("mirror", actor=other)
    with pytest.raises(NotAllowed):
        storages.request_test("mirror", actor=other)
