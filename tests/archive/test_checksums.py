import os
import zlib

from portal.archive import checksums


def test_the_fastest_sum_is_that_of_zlib_from_any_beginning() -> None:
    assert checksums.crc32 is not zlib.crc32, "isal is not installed"
    data = os.urandom(70_000)
    for start, end in ((0, 0), (0, 1), (3, 20), (0, 4099), (1, 65_537), (0, 70_000)):
        part = memoryview(data)[start:end]
        for begin in (0, 1, 0xFFFFFFFF, zlib.crc32(data)):
            assert checksums.crc32(part, begin) == zlib.crc32(part, begin)
    assert checksums.crc32(bytearray(data), checksums.crc32(b"")) == zlib.crc32(data)
