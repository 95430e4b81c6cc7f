"""The web server process: gunicorn with our own worker class (`web_worker`), serving `portal.app`."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from portal import parent_death, runtime, settings
from portal.access import upload_counts
from portal.app import create_app
from portal.processes import logs
from portal.processes.web_worker import WebWorker

WORKERS, THREADS = 2, 8
"""Processes, and threads for pages in each. Each has threads for transfers beside them: `web_worker.TRANSFERS`."""


class WebServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn without its configuration files: all options are set here."""

    def __init__(self, chosen: settings.Settings, address: str) -> None:
        self.chosen = chosen
        self._address = address
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": self._address,
            "workers": WORKERS,
            "threads": THREADS,
            "limit_request_line": 8190,  # the most that gunicorn takes; a filter of a list has up to 4,000 characters
            "worker_class": WebWorker,
            "sendfile": False,  # all bytes are sent by `web_connections`
            "worker_tmp_dir": str(self.chosen.run),
            "control_socket_disable": True,
            "forwarded_allow_ips": "",  # else gunicorn trusts headers from this machine; see web/proxy_headers.py
            "forwarder_headers": "",
            "graceful_timeout": 8,
            "umask": 0o077,
            "post_fork": post_fork,
            "worker_exit": worker_exit,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        runtime.start(self.chosen)
        self._database = ExitStack()
        self._database.enter_context(runtime.held_open())  # for as long as this process lives
        app = create_app(self.chosen)
        app.extensions["uses"].start()
        return app


def post_fork(arbiter: Any, _worker: Any) -> None:
    """gunicorn's hook: a worker dies with its arbiter, which dies with the supervisor."""
    parent_death.die_with_parent(arbiter.pid)


def worker_exit(_arbiter: Any, worker: Any) -> None:
    """gunicorn's hook: write what a worker has counted in its last minute, if it got as far as an application."""
    if worker.app.callable is not None:
        worker.app.callable.extensions["uses"].flush()
        upload_counts.flush(everything=True)


def main(arguments: list[str]) -> None:
    """`python -m portal.processes.web_server DATA HOST:PORT`, started by the supervisor."""
    logs.start()
    os.umask(0o077)
    data, address = arguments
    WebServer(settings.load(Path(data)), address).run()


if __name__ == "__main__":
    main(sys.argv[1:])
