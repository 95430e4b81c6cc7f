"""`python -m portal.sample DATA URL`: run by `portal up --sample` once the site answers."""

import logging
import sys
import warnings
from pathlib import Path

from portal import runtime, settings
from portal.errors import PortalError
from portal.sample import steps


def main(arguments: list[str]) -> int:
    """Returns 1 and prints the message if a step failed."""
    data, url = arguments
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # some of the vendor files are odd on purpose
    runtime.start(settings.load(Path(data)))
    try:
        with runtime.connection():
            steps.run(url, _say)
    except (PortalError, OSError) as error:
        _say(f"The sample stopped: {error}")
        return 1
    return 0


def _say(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
