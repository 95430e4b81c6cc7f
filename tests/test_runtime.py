"""What a process is bound to at its start."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from portal import runtime, settings
from portal.jobs import queue
from portal.processes import valkey
from tests.fixtures.up import until


@pytest.mark.parametrize("name", ["data", "my data", "data=1", "d" * 120])
def test_the_private_queue_knows_its_callers_whatever_the_data_folder_is_called(
    name: str, site_settings: settings.Settings, tmp_path: Path
) -> None:
    chosen = replace(site_settings, data=tmp_path / name)
    runtime.start(chosen)
    server = subprocess.Popen(valkey.command(runtime.valkey_socket(chosen)), stdout=subprocess.DEVNULL)
    try:
        until(queue.is_reachable)
        assert runtime.redis().client_info()["cmd"] == "client|info"  # as each worker asks at its birth
    finally:
        server.terminate()
        server.wait()
