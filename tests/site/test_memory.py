"""No process grows with what comes in: an object may be larger than the machine's memory."""

import subprocess
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pynetdicom.dimse_primitives import C_FIND, C_MOVE
from pynetdicom.presentation import build_context

from portal import runtime, settings
from portal.access.actors import Actor
from portal.devices import api_keys, devices
from portal.models import File, Instance, connection
from portal.tree import rest_ids
from portal.users import users
from tests.fixtures.applications import application
from tests.fixtures.archive import a_project
from tests.fixtures.dimse import OURS, STUDY_FIND, STUDY_MOVE, Listener, associated, register
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.memory_growth import BOUND, MEGABYTE, growth, growth_of
from tests.fixtures.web import PASSWORD, Visitor

UID = "1.2.826.0.1.3680043.9.7.4"
MARK = b"<value>"
MULTIPART = "multipart/form-data; boundary=limit"
PARTS = (
    b'--limit\r\nContent-Disposition: form-data; name="file"; filename="large.dcm"\r\n\r\n',
    b"\r\n--limit--\r\n",
)
EARLY, LATE = 0x00091010, 0x00420011
"""A private element before those that are indexed, and an Encapsulated Document behind them."""


def large_file(path: Path, size: int, tag: int, *, around: tuple[bytes, bytes] = (b"", b"")) -> Path:
    """An object with one value of so many bytes, which take no space on the disk, and what is to stand around it."""
    value = hostile.element(tag, "OB", MARK, length=size)
    where = {"first": value} if tag == EARLY else {"last": value}
    before, after = hostile.as_file(hostile.an_object(uid=UID, **where), uid=UID).split(MARK)
    before, after = around[0] + before, after + around[1]
    with path.open("wb") as file:
        file.write(before)
        file.seek(size, 1)
        file.write(after)
        file.truncate(len(before) + size + len(after))
    return path


def upload_and_look(chosen: settings.Settings, body: Path, path: str, key: str, email: str) -> None:
    """What the web does with an upload, and for five views of its header."""
    runtime.start(chosen)
    app = application(chosen)
    visitor = Visitor(client=app.test_client(), email=email, address="127.0.0.1")
    assert visitor.sign_in().status_code == 303
    headers = {"Authorization": f"Bearer {key}"}
    with body.open("rb") as stream:
        sizes: dict[str, Any] = {"content_length": body.stat().st_size, "content_type": MULTIPART}
        answer = app.test_client().post(path, input_stream=stream, headers=headers, **sizes)
    assert answer.status_code == 200, answer.text
    for _ in range(5):
        with connection():
            file = File.get()
        assert " bytes)" in visitor.get(f"/data/file/{file.id}/header").text


def growth_of_upload(site: settings.Settings, path: Path, admin: Actor) -> int:
    project = a_project(group="large", actor=admin)
    device = devices.add("importer-east", "importer", actor=admin)
    key = api_keys.issue(device, name="test", actor=admin).secret
    users.add("admin@site.example", PASSWORD, True, actor=admin)
    address = f"/api/projects/{rest_ids.encode('project', project.id)}/files"
    grown = growth_of(upload_and_look, site, path, address, key, "admin@site.example")
    assert Instance.get().sop_uid == UID
    return grown


def growth_of_storing(listener: Listener, path: Path) -> int:
    register()
    with growth(listener.process.pid) as found:
        peer = ["-aet", "SCANNER", "-aec", OURS, "127.0.0.1", str(listener.port)]
        done = subprocess.run(["storescu", *peer, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Instance.get().sop_uid == UID
    return found.most


def test_an_upload_of_300_megabytes_and_views_of_its_header_cost_no_memory(
    site: settings.Settings, admin: Actor, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "body", 300 * MEGABYTE, EARLY, around=PARTS)
    assert growth_of_upload(site, path, admin) < BOUND


def test_a_stored_object_of_300_megabytes_costs_the_listener_no_memory(listener: Listener, tmp_path: Path) -> None:
    path = large_file(tmp_path / "large.dcm", 300 * MEGABYTE, LATE)
    assert growth_of_storing(listener, path) < BOUND


@pytest.mark.prove
@pytest.mark.parametrize("way", ["upload", "store"])
def test_an_object_of_1500_megabytes_costs_no_memory(
    way: str,
    listener: Listener,
    admin: Actor,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    around = (b"", b"") if way == "store" else PARTS
    path = large_file(tmp_path / "large", 1500 * MEGABYTE, EARLY, around=around)
    if way == "store":
        grown = growth_of_storing(listener, path)
    else:
        listener.stop()
        grown = growth_of_upload(listener.settings, path, admin)
    record_property("grown", f"{grown / MEGABYTE:.0f} MiB")
    assert grown < BOUND


@pytest.mark.parametrize(("request_type", "model"), [(C_FIND, STUDY_FIND), (C_MOVE, STUDY_MOVE)], ids=["find", "move"])
def test_an_identifier_that_inflates_to_gigabytes_is_refused_and_costs_no_memory(
    listener: Listener, request_type: Any, model: str
) -> None:
    register()
    value = hostile.element(0x00100020, "UN", bytes(200 * MEGABYTE))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    request = request_type()
    request.MessageID, request.AffectedSOPClassUID, request.Priority = 1, model, 2
    request.Identifier = BytesIO(deflater.compress(value) + deflater.flush())
    if request_type is C_MOVE:
        request.MoveDestination = "SCANNER"
    contexts = [build_context(model, DeflatedExplicitVRLittleEndian)]
    with growth(listener.process.pid) as found, associated(listener.port, contexts) as assoc:
        assoc._reactor_checkpoint.clear()
        assoc.dimse.send_msg(request, assoc.accepted_contexts[0].context_id)
        _, answer = assoc.dimse.get_msg(block=True)
        assoc._reactor_checkpoint.set()
        assert (answer.Status, "1,048,576 bytes" in answer.ErrorComment) == (0xA900, True)
    assert found.most < BOUND
