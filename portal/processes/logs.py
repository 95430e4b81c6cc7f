"""Log files of the processes: limited in size, with one line for each message."""

import contextlib
import logging
import os
import textwrap
from pathlib import Path

MAX_FILE_SIZE = 5_000_000
KEPT_FILES = 3
_BREAKS = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0))}
_BREAKS |= {0x2028: "\\u2028", 0x2029: "\\u2029"}


class OneLineFormatter(logging.Formatter):
    """Time, level, logger and message in one line, so that text from outside cannot forge a line of its own.

    The lines of a stack trace are indented below it.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return super().formatMessage(record).translate(_BREAKS)

    def formatException(self, ei: object) -> str:
        return textwrap.indent(super().formatException(ei), "  ", lambda _line: True)  # type: ignore[arg-type]


def start() -> None:
    """Log to standard error, which the supervisor keeps in a file."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class LogFile:
    """The output of one process in `NAME.log`; at 5 MB it becomes `NAME.log.1`, and the fourth file is deleted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()
        self._size = os.fstat(self._descriptor).st_size

    def write(self, content: bytes) -> None:
        """Append. On a full disk the lines are lost, but the process goes on."""
        with contextlib.suppress(OSError):
            os.write(self._descriptor, content)
            self._size += len(content)
            if self._size <= MAX_FILE_SIZE:
                return
            for number in range(KEPT_FILES - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._numbered(number).rename(self._numbered(number + 1))
            self._path.rename(self._numbered(1))
            os.close(self._descriptor)
            self._descriptor = self._open()
            self._size = 0

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
