"""A process of the web server: a loop that waits for all clients, and threads that render pages without waiting.

The loop reads each request, hands it to a page thread when it is complete, and sends the response. Transfers have
threads of their own, in which a client must keep a minimum rate (docs/decisions/0069).
"""

import contextlib
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from portal.processes import web_requests
from portal.processes.web_connections import CLOSE_SECONDS, HEAD_SECONDS, PEER_SECONDS, QUEUE_SECONDS, Connection, State
from portal.web.proxy_headers import is_proxy

TRANSFER_THREADS = 16
"""Threads for transfers in each process."""
TRANSFERS_PER_ADDRESS = 12
"""How many of them one address may use, unless it is a proxy."""
MAX_CONNECTIONS = 400
UNFINISHED_PER_ADDRESS = 32
"""Connections of one address that may be without a complete request; of more, the oldest are refused."""
MAX_HELD_BYTES = 32 << 20
"""Bytes of requests and responses in memory."""
DRAIN_SECONDS = 0.2
"""How long a thread waits for the rest of a body that the application has not read."""
GRACE_SECONDS = 1.0
"""How long a new connection is exempt from the limit of its address."""
TICK_SECONDS = 0.5
RECEIVE_SIZE = 1 << 16


class WebWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's worker with threads; its loop is ours."""

    def init_process(self) -> None:
        self._connections: dict[Connection, None] = {}
        self._running_transfers: list[Connection] = []
        self._trusted = self.app.chosen.trusted_proxies
        self._transfers = ThreadPoolExecutor(TRANSFER_THREADS, "transfer")
        self._expired = 0.0
        super().init_process()

    def run(self) -> None:
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self.set_accept_enabled(True)
        while self.alive and self.is_parent_alive():
            self._turn()
            self.set_accept_enabled(len(self._connections) < MAX_CONNECTIONS or any(self._waiting(State.READING)))
        self.set_accept_enabled(False)

        # Let requests that have begun end. A client with an open connection may have sent one just now.
        began = time.monotonic()
        for connection in self._waiting(State.READING):
            connection.deadline = min(connection.deadline, began + CLOSE_SECONDS)
        while self._connections and time.monotonic() < began + self.cfg.graceful_timeout:
            self._turn()
        for pool in (self.tpool, self._transfers):
            pool.shutdown(wait=False)

    def accept(self, listener: Any) -> None:
        try:
            raw, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptor is free
            self.log.warning("A connection cannot be accepted: %s", error)
            self._drop_oldest()
            return
        connection = Connection(self.cfg, raw, client, listener.getsockname())
        self._connections[connection] = None
        self._await_request(connection, HEAD_SECONDS)
        if len(self._connections) > MAX_CONNECTIONS:
            self._drop_oldest()

    def finish_request(self, connection: Connection, future: "Future[bool]") -> None:
        """Called in the loop when a thread has handled a request."""
        connection.handed = 0
        if connection in self._running_transfers:
            self._running_transfers.remove(connection)
        connection.is_kept = not future.cancelled() and future.exception() is None and bool(future.result())
        self._wait_in(connection, State.SENDING, PEER_SECONDS)
        self._send(connection)
        self._start_transfers()

    def handle_request(self, req: Any, conn: Connection) -> bool:
        conn.use_buffers(req)
        return bool(super().handle_request(req, conn))

    def _keepalive_after(self, connection: Connection, keepalive: bool) -> bool:
        """Whether another request can follow: not after a body whose rest is neither read nor here yet."""
        return keepalive and bool(connection.parser.finish_body(deadline=time.monotonic() + DRAIN_SECONDS))

    def _turn(self) -> None:
        self.notify()
        self.wait_for_and_dispatch_events(timeout=TICK_SECONDS)
        if time.monotonic() - self._expired > TICK_SECONDS:
            self._expired = time.monotonic()
            self._expire()

    def _await_request(self, connection: Connection, seconds: float) -> None:
        self._wait_in(connection, State.READING, seconds)
        connection.request = None
        self.poller.register(connection.raw, selectors.EVENT_READ, partial(self._on_readable, connection))

    def _on_readable(self, connection: Connection, _raw: socket.socket) -> None:
        if connection.state not in (State.READING, State.CLOSING):
            return  # another event of the same turn has changed its state
        try:
            data = connection.raw.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
        elif connection.state is State.READING:
            if not connection.received:
                connection.deadline = time.monotonic() + HEAD_SECONDS
            connection.received += data
            if connection.request is not None:
                connection.extend(len(data), PEER_SECONDS)
            self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        """Begin the request if it is complete by now."""
        if connection.request is None:
            connection.request = web_requests.parse(connection.received)
            if (request := connection.request) and request.expects and not request.is_transfer:
                # Ask for the body of a page here; gunicorn asks for that of a transfer.
                with contextlib.suppress(OSError):
                    connection.raw.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if connection.request is None:
            if len(connection.received) > web_requests.MAX_HEAD:
                self._refuse(connection, web_requests.HEAD_TOO_LARGE)
            return
        if connection.request.is_transfer:
            self.poller.unregister(connection.raw)
            self._wait_in(connection, State.QUEUED, QUEUE_SECONDS)
            self._start_transfers()
            return

        try:
            is_whole = connection.request.is_whole(connection.received)
        except ValueError:
            self._refuse(connection, web_requests.BAD_REQUEST)
            return
        if is_whole:
            self.poller.unregister(connection.raw)
            self._begin(connection, self.tpool, is_transfer=False)
        elif len(connection.received) > web_requests.MAX_HEAD + 2 * web_requests.MAX_BODY:
            self._refuse(connection, web_requests.CONTENT_TOO_LARGE)
        else:
            self._hold_less(connection)

    def _start_transfers(self) -> None:
        """Give free threads to the transfers that have waited longest."""
        for connection in list(self._waiting(State.QUEUED)):
            if len(self._running_transfers) >= TRANSFER_THREADS:
                return
            running = sum(other.address == connection.address for other in self._running_transfers)
            if running < TRANSFERS_PER_ADDRESS or is_proxy(connection.address, self._trusted):
                self._running_transfers.append(connection)
                self._begin(connection, self._transfers, is_transfer=True)

    def _begin(self, connection: Connection, pool: ThreadPoolExecutor, *, is_transfer: bool) -> None:
        connection.state = State.RUNNING
        connection.handed = len(connection.received)
        connection.parser.unreader.unread(bytes(connection.received))
        connection.received = bytearray()
        connection.sock.begin(is_transfer=is_transfer)
        future = pool.submit(self.handle, connection)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, connection, done))

    def _send(self, connection: Connection) -> None:
        """Send what the client takes now, and wait with the rest until it takes more."""
        if connection.state is not State.SENDING:
            return  # another event of the same turn has closed it
        kept = connection.sock.kept
        try:
            connection.raw.setblocking(False)
            if kept:
                sent = connection.raw.send(kept)
                del kept[:sent]
                connection.extend(sent, PEER_SECONDS)
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
            return
        if not kept:
            self._after_response(connection)
            return
        with contextlib.suppress(KeyError):  # raised by get_key if the socket is not registered yet
            self.poller.get_key(connection.raw)
            return
        self.poller.register(connection.raw, selectors.EVENT_WRITE, lambda _raw: self._send(connection))
        self._hold_less(connection)

    def _after_response(self, connection: Connection) -> None:
        """Wait for the next request, whose first bytes may be here already; or close."""
        self._forget_events(connection)
        if not connection.is_kept:
            self._end(connection)
            return
        connection.received = bytearray(connection.parser.unreader.take_buffered())
        self._await_request(connection, HEAD_SECONDS if connection.received else self.cfg.keepalive)
        if connection.received:
            self._advance(connection)

    def _hold_less(self, connection: Connection) -> None:
        """Close the oldest connections that hold memory until the rest fits; this one if there is no other."""
        while sum(one.held for one in self._connections) > MAX_HELD_BYTES:
            oldest = next(
                (one for one in self._waiting(State.SENDING, State.READING) if one.held > RECEIVE_SIZE), connection
            )
            self._close(oldest)
            if oldest is connection:
                return

    def _drop_oldest(self) -> None:
        """Close the oldest idle connection of the address that has the most."""
        idle = [one for one in self._connections if one.state in (State.CLOSING, State.READING, State.SENDING)]
        busiest = Counter(one.address for one in idle).most_common(1)
        if busiest:
            self._close(next(one for one in idle if one.address == busiest[0][0]))

    def _expire(self) -> None:
        """Refuse the oldest connections of an address that has too many, and end those whose deadline has passed."""
        now = time.monotonic()
        unfinished = Counter(connection.address for connection in self._waiting(State.READING))
        for connection in list(self._waiting(State.READING)):
            address = connection.address
            # A new connection always has a second to send its request.
            is_over = unfinished[address] > UNFINISHED_PER_ADDRESS and now - connection.since > GRACE_SECONDS
            if is_over and not is_proxy(address, self._trusted):
                unfinished[address] -= 1
                self._refuse(connection, web_requests.UNAVAILABLE)
        for connection in list(self._connections):
            if connection.state is State.RUNNING or connection.deadline > now:
                continue
            if connection.state is State.QUEUED:
                self._refuse(connection, web_requests.UNAVAILABLE)
            elif connection.state is State.READING and connection.received:
                self._refuse(connection, web_requests.REQUEST_TIMEOUT)
            else:
                self._close(connection)

    def _refuse(self, connection: Connection, status: str) -> None:
        """Respond with only a status, if the client has sent anything, and end the connection."""
        if connection.received:
            with contextlib.suppress(OSError):
                connection.raw.send(web_requests.refusal(status))
        self._forget_events(connection)
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        """Shut down our side, and give the client time to read what was sent."""
        connection.received = bytearray()
        try:
            connection.raw.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
            return
        self._wait_in(connection, State.CLOSING, CLOSE_SECONDS)
        self.poller.register(connection.raw, selectors.EVENT_READ, partial(self._on_readable, connection))

    def _close(self, connection: Connection) -> None:
        self._forget_events(connection)
        self._connections.pop(connection, None)
        connection.state = State.CLOSED
        connection.raw.close()

    def _forget_events(self, connection: Connection) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self.poller.unregister(connection.raw)

    def _wait_in(self, connection: Connection, state: State, seconds: float) -> None:
        """Enter a state; `_connections` is kept in the order in which connections entered theirs."""
        connection.state, connection.since = state, time.monotonic()
        connection.deadline = connection.since + seconds
        self._connections.pop(connection, None)
        self._connections[connection] = None

    def _waiting(self, *states: State) -> Iterator[Connection]:
        """The connections in these states, the longest waiting first."""
        return (connection for connection in self._connections if connection.state in states)
