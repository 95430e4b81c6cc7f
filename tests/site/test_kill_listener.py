import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom.presentation import build_context

from portal import site_settings as options
from portal.models import Series, Study
from portal.settings import Settings
from tests.fixtures.dimse import (
    STUDY_MOVE,
    Destination,
    Encoded,
    Listener,
    Sender,
    accepts,
    associated,
    destination,
    image,
    listening,
    register,
    store,
    until,
)
from tests.fixtures.process_tree import children

pytestmark = pytest.mark.counts_losses
RECORDED = re.compile(r"(?P<pid>\d+) +(?P<resumed><\.\.\. )?(?P<call>\w+)(\((?P<file>\d+<[^>]*>)?)?")
STORE_RESPONSE = "".join(rf"\x{byte:02x}" for byte in (0, 0, 0, 1, 2, 0, 0, 0, 1, 0x80))
"""Command Field 8001H, as strace writes it (PS3.7 E.1-1)."""


def a_study(count: int) -> tuple[str, list[Encoded]]:
    study, series = generate_uid(), generate_uid()
    return study, [
        Encoded.of(
            image(
                StudyInstanceUID=study,
                SeriesInstanceUID=series,
                InstanceNumber=number,
                Rows=100,
                Columns=100,
                PixelData=os.urandom(10_000),
            )
        )
        for number in range(count)
    ]


def send_until_killed(
    listener: Listener, objects: list[Encoded], after: int, wait: float, associations: int = 1
) -> dict[str, str]:
    """Send over some associations at once until the listener dies; UID → digest of each object whose 0000 was read."""
    senders = [Sender(listener.port) for _ in range(associations)]
    done = threading.Event()

    def kill() -> None:
        try:
            until(lambda: sum(len(one.sent) for one in senders) >= after or done.is_set(), "enough are sent", 300)
            threading.Event().wait(wait)
        finally:  # else the test would wait for ever for a listener that nothing ends
            for process in [listener.process.pid, *children(listener.process.pid)]:
                os.kill(process, signal.SIGKILL)

    def send(number: int) -> None:
        sender, own = senders[number], objects[number::associations]
        with sender.open({(one.sop_class, one.syntax) for one in own}) as assoc:
            # pynetdicom 3.0.4 forgets to close a socket that was reset (AssociationSocket.close).
            connection = assoc.dul.socket.socket
            for one in own:
                sent = sender.send(
                    assoc, one.raw, sop_class=one.sop_class, sop_instance=one.sop_instance, syntax=one.syntax
                )
                if sent.status != 0:
                    break
            assoc.join(3)
            connection.close()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with ThreadPoolExecutor(associations) as pool:
            for _ in pool.map(send, range(associations)):
                pass
    finally:
        done.set()
        killer.join()
    listener.process.wait()
    until(lambda: not accepts(listener.port), "the killed processes let go of the port")
    return {sent.sop_instance: sent.digest for one in senders for sent in one.sent if sent.status == 0}


def fetch_back(port: int, study_uid: str, viewer: Destination) -> dict[str, str]:
    """Move a study to the viewer; UID → digest of what it got."""
    viewer.digests.clear()
    request = Dataset()
    request.QueryRetrieveLevel, request.StudyInstanceUID = "STUDY", study_uid
    with associated(port, [build_context(STUDY_MOVE)]) as assoc:
        answers = list(assoc.send_c_move(request, viewer.ae_title, STUDY_MOVE))
    assert answers[-1][0].Status == 0
    return dict(viewer.digests)


def one_round(settings: Settings, viewer: Destination, count: int, chance: random.Random, associations: int = 1) -> int:
    """Send, kill at a random moment, start again, and compare; returns how many were acknowledged."""
    study_uid, objects = a_study(count)
    known = {one.sop_instance for one in objects}
    after, wait = chance.randrange(associations, count * 7 // 10), chance.random() / 50
    with listening(settings, children=min(associations, 2)) as listener:
        acknowledged = send_until_killed(listener, objects, after, wait, associations)
    assert 0 < len(acknowledged) < count
    with listening(settings) as listener:
        got = fetch_back(listener.port, study_uid, viewer)
    assert {uid: got.get(uid) for uid in acknowledged} == acknowledged
    assert set(got) <= known
    study = Study.get(Study.study_uid == study_uid)
    of_series = [row.n_instances for row in Series.select().where(Series.study == study)]
    assert (study.n_instances, sum(of_series)) == (len(got), len(got))
    return len(acknowledged)


@pytest.fixture
def viewer(dimse_site: Settings) -> Iterator[Destination]:
    with destination("SCANNER") as running:
        register(host="127.0.0.1", port=running.port)
        yield running


@pytest.mark.parametrize(("seed", "associations"), [(1, 4), (2, 16), (3, 4)])
def test_whatever_was_acknowledged_before_a_kill_is_there_after_it(
    dimse_site: Settings, viewer: Destination, seed: int, associations: int
) -> None:
    one_round(dimse_site, viewer, 120, random.Random(seed), associations)


@pytest.mark.prove
@pytest.mark.parametrize("part", range(8))
def test_200_kills_under_4_and_16_associations_lose_nothing(
    dimse_site: Settings, viewer: Destination, part: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random()
    acknowledged = [one_round(dimse_site, viewer, 120, chance, 4 if part % 2 else 16) for _ in range(25)]
    record_property("kills under 4 or 16 associations", len(acknowledged))
    record_property("acknowledged before them, all fetched back by digest", sum(acknowledged))


@pytest.mark.prove
def test_ten_kills_in_the_middle_of_500_stores_lose_nothing(
    dimse_site: Settings, viewer: Destination, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random()
    acknowledged = [one_round(dimse_site, viewer, 500, chance) for _ in range(10)]
    record_property("acknowledged before each of 10 kills, all fetched back by digest", acknowledged)


def test_the_segment_is_on_the_disk_before_each_success_and_the_log_before_the_first(
    dimse_site: Settings, tmp_path: Path
) -> None:
    register()
    trace = tmp_path / "trace"
    calls = "fdatasync,fsync,sendto,sendmsg,write,writev"
    command = ["strace", "-f", "-y", "-xx", "-s", "400", "-e", f"trace={calls}", "-o", str(trace)]
    listen = [sys.executable, "-m", "dimse_worker", "listen", "--data", str(dimse_site.data)]
    process = subprocess.Popen([*command, *listen], env={**os.environ, "PORTAL_MIN_FREE": "1"})
    try:
        port = options.get("dimse.port")
        until(lambda: accepts(port) or process.poll() is not None, "the listener accepts under strace", 60)
        sent = store(port, a_study(20)[1])
    finally:
        for child in children(process.pid):
            os.kill(child, signal.SIGTERM)
        process.wait(timeout=60)
    assert [one.status for one in sent] == [0] * 20
    answers = answers_after_syncs(trace.read_text().splitlines())
    assert answers[0] == {"segment", "log"}  # the first one creates its study
    assert [answer - {"log"} for answer in answers[1:]] == [{"segment"}] * 19


def answers_after_syncs(lines: list[str]) -> list[set[str]]:
    """What was synced before each C-STORE response, counted from the response before."""
    answers: list[set[str]] = []
    synced: set[str] = set()
    waiting: dict[str, str] = {}
    for line in lines:
        match = RECORDED.match(line)
        if match is None:
            continue
        name = waiting.pop(match["pid"], "") if match["resumed"] else unescaped(match["file"] or "")
        if "unfinished" in line and match["call"] in ("fdatasync", "fsync"):
            waiting[match["pid"]] = name
        elif match["call"] in ("fdatasync", "fsync") and line.rstrip().endswith("= 0"):
            synced |= {kind for kind, ending in (("segment", ".seg"), ("log", "-wal")) if name.endswith(ending)}
        if STORE_RESPONSE in line:
            answers.append(synced)
            synced = set()
    return answers


def unescaped(file: str) -> str:
    """`7<\\x2f\\x74…>` as the path alone."""
    path = file.partition("<")[2].rstrip(">")
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), path)
