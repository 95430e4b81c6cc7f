"""What the listener says of itself, as the page of its settings tells it."""

import socket

from portal import site_settings as options
from portal.access.actors import operator
from portal.peers import listener_status
from portal.settings import Settings
from tests.fixtures.dimse import enable, until
from tests.fixtures.dimse import listening as running
from tests.fixtures.free_ports import free_port


def now() -> listener_status.ListenerStatus:
    return listener_status.current(options.get_all())


def test_the_listener_says_where_it_listens_why_it_cannot_and_that_it_is_gone(dimse_site: Settings) -> None:
    assert now().kind == "gone"
    with socket.socket() as other, running(dimse_site):
        until(lambda: now().kind == "on", "it listens")
        assert now().message == f"Listening on 127.0.0.1:{options.get('dimse.port')}"
        assert now().since is not None

        other.bind(("127.0.0.1", 0))
        other.listen()
        enable(other.getsockname()[1])
        assert now().kind == "starting"
        until(lambda: now().kind == "failed", "it says that the port is taken")
        assert "is in use by another program." in now().message

        enable(free_port(), **{"dimse.host": "192.0.2.1"})
        until(lambda: now().kind == "failed" and "192.0.2.1" in now().message, "it says that the address is none")
        enable(free_port())
        until(lambda: now().kind == "on", "it listens again")
        options.change({"dimse.enabled": False}, actor=operator())
        assert now().kind == "off"
        options.change({"dimse.enabled": True}, actor=operator())
    assert now().kind == "gone"
    assert not now().is_settled


def test_why_nobody_can_listen_is_said_with_what_to_do() -> None:
    assert "deploy/README.md" in listener_status.explain_failure("0.0.0.0", 104, PermissionError(13, "no"))
    assert "[::1]:104" in str(listener_status._host_and_port("::1", 104))


def test_a_listener_that_cannot_write_down_where_it_listens_goes_on(dimse_site: Settings) -> None:
    (dimse_site.run / "listener.json").mkdir()
    with running(dimse_site):
        assert now().kind == "gone"


def test_where_it_listens_is_written_over_what_stood_there_which_needs_no_room(dimse_site: Settings) -> None:
    listener_status.record()
    file = dimse_site.run / "listener.json"
    before = file.stat()
    listener_status.record("127.0.0.1", options.get("dimse.port"))
    assert now().kind == "on"
    listener_status.record("192.0.2.1", 104, PermissionError(13, "no"))
    assert (file.stat().st_ino, file.stat().st_size) == (before.st_ino, before.st_size)
    assert [path.name for path in dimse_site.run.glob("listener*")] == ["listener.json"]
