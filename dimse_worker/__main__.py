"""`python -m dimse_worker listen | work --data DIR`: the two kinds of process that speak DICOM or run jobs."""

import argparse
import logging
import os
import sys
import warnings
from pathlib import Path

import structlog
from pydicom import config

from portal import settings
from portal.errors import PortalError
from portal.jobs.queue import LANES


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; 1 with one line on stderr if the process cannot start."""
    parser = argparse.ArgumentParser(prog="python -m dimse_worker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listen = commands.add_parser("listen", help="answer DICOM peers")
    listen.add_argument("--children", default="1", help="processes that accept associations")
    work = commands.add_parser("work", help="run jobs")
    work.add_argument("--lane", choices=LANES, help="only the short or only the long ones; default: all")
    for command in (listen, work):
        command.add_argument("--data", type=Path, help="the site's folder; default: PORTAL_DATA, else ./data")
    options = parser.parse_args(arguments)
    if options.command == "listen" and not (options.children.isdecimal() and 1 <= int(options.children) <= 64):
        listen.error("argument --children: a number from 1 to 64")

    os.umask(0o077)
    _configure_logging()
    try:
        chosen = settings.load(options.data)
        if options.command == "listen":
            from dimse_worker import listener

            listener.main(chosen, int(options.children))
        else:
            from dimse_worker import worker

            worker.main(chosen, LANES if options.lane is None else (options.lane,))
    except PortalError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


def _configure_logging() -> None:
    """One line for each event on stderr: JSON, or in colour on a terminal. Never a value of a data set."""
    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    stamped: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=stamped, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)

    # pydicom's warnings and pynetdicom's errors quote values of data sets, names of patients among them.
    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE
    warnings.filterwarnings("ignore", module="pydicom")
    for name in ("pydicom", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("pynetdicom.events").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
