import pytest
from pydicom import dcmread

from dimse_worker.wire import memory
from dimse_worker.wire.memory import LARGEST_SHARE, POOL_SIZE, STEP, Share
from portal.ingest.incoming import Incoming
from tests.fixtures.archive import begin, encode, vendor_file

PIECE = bytes(STEP // 2)


def receive(incoming: Incoming, share: Share, size: int) -> None:
    for _ in range(0, size, len(PIECE)):
        share.make_room(len(PIECE))
        incoming.write(PIECE)


def test_objects_that_come_at_once_share_one_pool_and_the_rest_is_streamed(site: None) -> None:
    objects = [begin(uid=f"1.2.{number}") for number in range(5)]
    shares = [Share(incoming) for incoming in objects]
    for _ in range(3):
        for incoming, share in zip(objects, shares, strict=True):
            receive(incoming, share, 5 << 20)
            assert sum(one.bytes_in_memory for one in objects) <= POOL_SIZE
    assert min(one.bytes_in_memory for one in objects) == 0 < max(one.bytes_in_memory for one in objects)
    for incoming, share in zip(objects, shares, strict=True):
        with share, incoming:
            assert incoming.size > 15 << 20
    assert memory._free == [POOL_SIZE]


def test_a_large_object_gives_back_its_share_as_soon_as_it_is_streamed(site: None) -> None:
    with begin() as incoming, Share(incoming) as share:
        receive(incoming, share, LARGEST_SHARE - (1 << 20))
        assert memory._free[0] < POOL_SIZE - (14 << 20)
        receive(incoming, share, 2 << 20)
        assert (memory._free, incoming.bytes_in_memory) == ([POOL_SIZE], 0)


@pytest.mark.parametrize("pool", [0, STEP, POOL_SIZE])
def test_an_object_is_stored_the_same_whatever_is_left_of_the_pool(
    site: None, monkeypatch: pytest.MonkeyPatch, pool: int
) -> None:
    monkeypatch.setattr(memory, "_free", [pool])
    ds = dcmread(vendor_file("CT_small.dcm"))
    encoded = encode(ds)
    with begin(uid=ds.SOPInstanceUID) as incoming, Share(incoming) as share:
        for start in range(0, len(encoded), 1000):
            piece = encoded[start : start + 1000]
            share.make_room(len(piece))
            incoming.write(piece)
        assert incoming.commit().outcome == "stored"
    assert memory._free == [pool]
