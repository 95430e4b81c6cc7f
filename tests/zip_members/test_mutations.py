"""Zips that are changed at random: each is refused with a sentence or kept, and what is shown of it can be sent."""

import random
import zipfile
from typing import BinaryIO, cast

import pytest

from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import PortalError
from portal.models import DicomZip, File, Instance, Series, Study
from portal.query import retrieve
from portal.settings import Settings
from portal.tree import containers
from tests.fixtures.archive import a_project, upload
from tests.fixtures.hostile.zips import Unseekable, a_zip, part_10
from tests.fixtures.query import an_image, over_the_wire, request

NUMBER = 240
VALUES = (0, 1, 0x7F, 0x80, 0xFF)


def originals() -> list[bytes]:
    """Small zips: stored, deflated, and with sizes behind the members."""
    members = {f"series/{number}.dcm": part_10(an_image("1.2.3", "1.2.3.4")) for number in range(3)}
    streamed = Unseekable()
    with zipfile.ZipFile(cast(BinaryIO, streamed), "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return [a_zip(members), a_zip(members, method=zipfile.ZIP_DEFLATED), streamed.content]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, mostly where the structure is; sometimes a part cut out, doubled or moved."""
    changed = bytearray(content)
    structure = [at for magic in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06") for at in _all(content, magic)]
    for _ in range(chance.randint(1, 3)):
        near = chance.random() < 0.8
        at = chance.choice(structure) + chance.randrange(46) if near else chance.randrange(len(changed))
        changed[min(at, len(changed) - 1)] = chance.choice((*VALUES, chance.randrange(256)))
    if chance.random() < 0.2:
        begin = chance.randrange(len(changed))
        part = changed[begin : begin + chance.randrange(1, 200)]
        where = chance.randrange(len(changed))
        changed[where:where] = part
    elif chance.random() < 0.1:
        begin = chance.randrange(len(changed))
        del changed[begin : begin + chance.randrange(1, 200)]
    return bytes(changed)


def _all(content: bytes, magic: bytes) -> list[int]:
    found, at = [], content.find(magic)
    while at >= 0:
        found.append(at)
        at = content.find(magic, at + 1)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_each_changed_zip_is_refused_or_kept_and_what_is_shown_can_be_sent(
    seed: int, site: Settings, admin: Actor
) -> None:
    project = a_project(actor=admin)
    subject = containers.add_subject(project.id, "sub-01", actor=admin)
    session = containers.add_session(subject.id, "ses-1", actor=admin)
    acquisition = containers.add_acquisition(session.id, "acq", actor=admin).id
    chance, zips = random.Random(seed), originals()
    refused = 0
    for number in range(NUMBER // 2):
        content = mutated(chance.choice(zips), chance)
        try:
            upload(content, acquisition, f"{number}.zip", actor=admin)
        except PortalError as error:
            refused += 1
            assert error.message.endswith(".")  # noqa: PT017 (others are kept)
    kept = File.select().count()
    assert (refused + kept, refused > 10, kept > 10) == (NUMBER // 2, True, True)
    assert not DicomZip.select().where(DicomZip.is_settled == False).exists()  # noqa: E712

    shown = Instance.select().where(Instance.state == "current")
    assert (
        sum(row.n_instances for row in Study.select()) == sum(row.n_instances for row in Series.select()) == len(shown)
    )
    scope = Scope(projects=(project.id,), stores=frozenset())
    for study in Study.select().where(Study.n_instances > 0):
        asked = over_the_wire(request("STUDY", StudyInstanceUID=study.study_uid))
        for one in retrieve.plan(asked, scope, root="study"):
            one.check()
