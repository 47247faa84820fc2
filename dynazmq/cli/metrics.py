"""`metrics`: what all nodes count and measure, printed once or served to a scraper on this host."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dynazmq import __version__
from dynazmq.cli import NOT_RUNNING, OK
from dynazmq.cli.status import PATIENCE_S
from dynazmq.cli.terminal import note, say
from dynazmq.cluster.observe import metrics
from dynazmq.cluster.observe.observe import Observer
from dynazmq.errors import ClusterError, InvalidRequest

SCRAPE_S = 0.5
"""A scrape waits no longer than this for nodes that do not answer."""

PORT = 9464
_HEAD_S = 5.0
"""A client that has not said what it wants after this long is left alone."""


def run(directory: Path) -> int:
    with Observer(directory) as observer:
        snapshot, text = _look(observer, PATIENCE_S)
    say(text.rstrip("\n"))
    return OK if snapshot else NOT_RUNNING


def _look(observer: Observer, timeout: float) -> tuple[bool, str]:
    """Whether anything of it runs, and the metrics."""
    snapshot = observer.look(timeout)
    runs = any(node.pid for node in snapshot.nodes)
    return runs, metrics.text(snapshot, observer.last_answers, observer.last_facts, __version__)


# --- serving --------------------------------------------------------------------------------------------------------------


def serve(directory: Path, port: int) -> int:
    """Answer on 127.0.0.1 until SIGTERM or Ctrl-C, which end it in good order (exit code 0)."""
    if not 0 <= port <= 65535:
        raise InvalidRequest(f"--port is 0 to 65535, not {port}")
    with Observer(directory) as observer:
        try:
            server = Server(observer, port)
        except OSError as error:
            raise ClusterError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}; choose another --port") from None
        with server, _signals(server):
            note(f"metrics of {observer.cluster.name} at http://127.0.0.1:{server.server_port}/metrics    Ctrl-C ends it")
            server.serve_forever(poll_interval=0.1)
    return OK


class Server(ThreadingHTTPServer):
    """Each connection has a thread, so that one that is slow to ask or to listen keeps nobody waiting; one looks at a time."""

    daemon_threads = True
    block_on_close = False  # who does not hang up does not hold up the end

    def __init__(self, observer: Observer, port: int) -> None:
        self._observer = observer
        self._one_looks = threading.Lock()  # the observer's sockets are for one thread at a time
        super().__init__(("127.0.0.1", port), _Handler)

    def scrape(self) -> str:
        with self._one_looks:
            return _look(self._observer, SCRAPE_S)[1]

    def server_bind(self) -> None:
        """As the base class does it, but for asking the resolver for this host's name."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up. That is no business of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "dynazmq"
    sys_version = ""
    timeout = _HEAD_S

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        code, kind, text = 200, metrics.CONTENT_TYPE, ""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            try:
                text = self.server.scrape()
            except ClusterError as error:  # its directory was removed or cannot be read: this look has failed, the next may not
                code, kind, text = 503, "text/plain; charset=utf-8", f"{error}\n"
        elif path == "/":
            kind, text = "text/plain; charset=utf-8", "dynazmq: /metrics\n"
        else:
            code, kind, text = 404, "text/plain; charset=utf-8", "there is /metrics\n"
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A line for each scrape says nothing."""


@contextmanager
def _signals(server: Server) -> Iterator[None]:
    """SIGTERM and SIGINT end `serve_forever`, which cannot be told so from its own thread."""

    def end(_number: int, _frame: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
