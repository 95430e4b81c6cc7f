"""Large objects in parts: cut whatever the chunks are, some on their way at once, and none after an error."""

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from portal.errors import Unreachable
from portal.storage_drivers.multipart import Buffers, Parts, PartSender
from tests.fixtures.stores import Front, Place, Request
from tests.fixtures.work import until

pytestmark = pytest.mark.xdist_group("stores")


@pytest.mark.parametrize("length", [1, 7, 10, 99, 100, 1000])
@pytest.mark.parametrize("chunk", [1, 7, 10, 100])
def test_an_object_is_cut_in_parts_of_one_length(chunk: int, length: int) -> None:
    content = os.urandom(100)
    chunks = (content[at : at + chunk] for at in range(0, 100, chunk))
    parts = list(Parts(chunks, size=100, length=length, digests=True, buffers=Buffers()))
    assert b"".join(part.body for part in parts) == content
    assert [part.number for part in parts] == list(range(len(parts)))
    assert [part.offset for part in parts] == list(range(0, 100, length))
    assert {len(part.body) for part in parts[:-1]} <= {length}
    assert [part.digest for part in parts] == [hashlib.sha256(part.body).hexdigest() for part in parts]


def test_memory_is_used_again_once_a_part_is_given_back_and_nothing_of_the_earlier_part_shows() -> None:
    buffers = Buffers()
    parts = Parts([b"0123456789"], size=10, length=6, digests=False, buffers=buffers)
    first = next(parts)
    buffers.give_back(first)
    second = next(parts)
    assert second.body.obj is first.body.obj
    assert (bytes(second.body), second.digest) == (b"6789", "")
    assert len(buffers.take(7)) >= 7


def test_the_last_part_is_given_only_once_the_chunks_have_ended_well() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"0123456789"
        raise Unreachable("The source broke off.")

    parts = Parts(chunks(), size=10, length=6, digests=False, buffers=Buffers())
    assert bytes(next(parts).body) == b"012345"
    with pytest.raises(Unreachable):
        next(parts)


def test_as_many_parts_are_sent_at_once_as_there_are_threads_and_no_more_are_made() -> None:
    made = itertools.count()
    gone: list[int] = []
    together, go_on = threading.Barrier(4), threading.Semaphore(0)

    def send(part: int) -> None:
        if part < 3:
            together.wait(20)
        go_on.acquire()
        gone.append(part)

    sending = threading.Thread(target=PartSender(3).send_all, args=(itertools.islice(made, 10), send))
    sending.start()
    together.wait(20)
    assert next(made) == 3  # and one of them was ours: the fourth part was not made yet
    for _part in range(10):
        go_on.release()
    sending.join(20)
    assert sorted(gone) == [0, 1, 2, *range(4, 11)]


def test_the_limit_changes_while_parts_are_under_way() -> None:
    made = itertools.count()
    go_on = threading.Semaphore(0)
    sender = PartSender(3)
    sender.limit(1)
    sending = threading.Thread(target=sender.send_all, args=(itertools.islice(made, 10), lambda _part: go_on.acquire()))
    sending.start()
    until(lambda: repr(made) == "count(1)")
    sender.limit(3)
    until(lambda: repr(made) == "count(3)")
    for _part in range(10):
        go_on.release()
    sending.join(20)
    assert not sending.is_alive()


def test_what_a_part_meets_is_raised_when_none_is_under_way_any_more() -> None:
    begun: list[int] = []
    ended: list[int] = []
    may_end = threading.Event()

    def send(part: int) -> None:
        begun.append(part)
        if part == 1:
            may_end.set()
            raise Unreachable("The way is cut.")
        may_end.wait(20)
        ended.append(part)

    with pytest.raises(Unreachable):
        PartSender(2).send_all(iter(range(1000)), send)
    assert len(begun) < 1000
    assert sorted([*ended, 1]) == sorted(begun)


@pytest.mark.parametrize("place", ["juicefs", "azurite"], indirect=True)
def test_parts_of_one_object_are_at_the_store_at_once(place: Place, make_front: Callable[..., Front]) -> None:
    content = os.urandom(20 << 20)
    together = threading.Barrier(2)
    blocks: list[str] = []

    def rule(request: Request) -> None:
        """The first part waits for the second one."""
        if request.method == "PUT" and ("partNumber=1&" in request.path or "partNumber=2&" in request.path):
            together.wait(20)
        if "comp=block&" in request.path and len(blocks) < 2:
            blocks.append(request.path)
            together.wait(20)

    destination = place.behind(make_front(place, rule)).open("at-once")
    digest = hashlib.sha256(content).hexdigest()
    destination.put("large", [content], size=len(content), digest=digest)
    assert destination.holds("large", size=len(content), digest=digest)
    assert not together.broken
