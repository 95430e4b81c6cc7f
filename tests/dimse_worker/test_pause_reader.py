import threading

from pynetdicom.presentation import build_context

from dimse_worker.pause_reader import ReactorPause
from tests.fixtures.dimse import VERIFICATION, associated, destination


class Reactor(threading.Thread):
    """A thread that goes round as pynetdicom's does, and counts its rounds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.rounds = 0
        self.ends = False
        self.checkpoint = ReactorPause(self)  # type: ignore[arg-type]

    def run(self) -> None:
        while not self.ends:
            self.checkpoint.wait()
            self.rounds += 1


def test_a_paused_thread_makes_no_further_round() -> None:
    reactor = Reactor()
    reactor.start()
    for _ in range(2000):
        reactor.checkpoint.clear()
        before = reactor.rounds
        threading.Event().wait(0)
        assert reactor.rounds == before
        reactor.checkpoint.set()
    reactor.ends = True
    reactor.join(5)
    assert not reactor.is_alive()


def test_a_pause_of_a_thread_that_has_ended_returns() -> None:
    reactor = Reactor()
    reactor.ends = True
    reactor.start()
    reactor.join(5)
    reactor.checkpoint.clear()
    assert not reactor.checkpoint.is_set()


def test_no_answer_is_lost_in_many_echoes_beside_a_busy_thread() -> None:
    busy = threading.Event()

    def burn() -> None:
        while not busy.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=burn) for _ in range(4)]
    with destination() as peer:
        for thread in threads:
            thread.start()
        try:
            with associated(peer.port, [build_context(VERIFICATION)], called=peer.ae_title) as assoc:
                answers = [assoc.send_c_echo(number % 65535 + 1) for number in range(30)]
        finally:
            busy.set()
            for thread in threads:
                thread.join()
    assert [answer.Status for answer in answers] == [0] * 30
