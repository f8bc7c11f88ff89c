"""Web and FTP servers on loopback that serve one file and take what is sent to them, with TLS or
without."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

FILE = "/firmware"
USER, PASSWORD = "user", "pass word"
LOGIN = "user:pass%20word"
"""As a URL has it."""


class Web(ThreadingHTTPServer):
    """Serves `content` as FILE, with ranges; keeps what is sent to it."""

    def __init__(self, content: bytes, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _WebHandler)
        self.content = content
        self.cut_after: int | None = None
        self.hides_length = False
        self.etag = '"one"'
        self.shifts_parts = 0
        """A part is sent from so many bytes before where it was asked for."""
        self.longest_part: int | None = None
        """A part that is sent ends after so many bytes, and says so."""
        self.moves: dict[str, str] = {}
        """Place -> where it is sent on to."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        """(place, headers) of each download."""
        self.refuses: dict[str, int] = {}
        self.reason: str | None = None
        """Words of the answer to what is sent to it."""
        self.got: list[tuple[str, str, dict[str, str], bytes]] = []
        self.ranges: list[str | None] = []
        self.faults: list[object] = []
        """Connections that came to nothing."""
        self._scheme = "http" if context is None else "https"
        if context is not None:
            # the handshake is the connection's own: it must not hold up the next one
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def url(self) -> str:
        return f"{self._scheme}://localhost:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.faults.append(client_address)


class _WebHandler(BaseHTTPRequestHandler):
    server: Web

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        web = self.server
        web.asked.append((self.path, dict(self.headers)))
        if self.path in web.moves:
            self.send_response(302)
            self.send_header("Location", web.moves[self.path])
            self.end_headers()
            return
        if self.path != FILE:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        web.ranges.append(asked)
        at = 0
        if asked is not None and self.headers.get("If-Range") == web.etag:
            at = int(asked.removeprefix("bytes=").rstrip("-")) - web.shifts_parts
        if at >= len(web.content):
            self.send_error(416)
            return
        self.send_response(206 if at else 200)
        end = len(web.content)
        if at:
            end = min(end, at + (web.longest_part or end))
            self.send_header("Content-Range", f"bytes {at}-{end - 1}/{len(web.content)}")
        self.send_header("ETag", web.etag)
        if not web.hides_length:
            self.send_header("Content-Length", str(end - at))
        self.end_headers()
        self.wfile.write(web.content[at : end if web.cut_after is None else web.cut_after])

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.command, self.path, dict(self.headers), body))
        self.send_response(self.server.refuses.get(self.command, 201), self.server.reason)
        self.send_header("Location", "/welcome")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_POST = _take


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    """The server, answering until the block ends."""
    poll = {"poll_interval": 0.05} if isinstance(server, Web) else {}
    thread = threading.Thread(target=server.serve_forever, kwargs=poll, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        if isinstance(server, Web):
            server.shutdown()
            server.server_close()
        else:
            server.close_all()


class Ftp:
    """The files of a directory for USER. `certificate`: a PEM file with its key; then nothing goes
    over a connection that is not encrypted."""

    def __init__(self, root: Path, certificate: Path | None = None) -> None:
        handler = _handler(certificate)
        handler.authorizer = DummyAuthorizer()
        handler.authorizer.add_user(USER, PASSWORD, str(root), perm="elradfmwMT")
        handler.auth_failed_timeout = 0
        self.commands: list[str] = handler.commands
        """What was said on control connections, without arguments of PASS."""
        self.server = FTPServer(("127.0.0.1", 0), handler)
        self._scheme = "ftp" if certificate is None else "ftps"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{LOGIN}@localhost:{self.server.socket.getsockname()[1]}"


def _handler(certificate: Path | None) -> Any:
    base: Any = FTPHandler
    if certificate is not None:
        from pyftpdlib.handlers import TLS_FTPHandler

        base = TLS_FTPHandler

    class Handler(base):  # type: ignore[misc]
        commands: ClassVar[list[str]] = []

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            self.commands.append(cmd if cmd == "PASS" else line)
            super().pre_process_command(line, cmd, arg)

    if certificate is not None:
        Handler.certfile = str(certificate)
        Handler.tls_control_required = Handler.tls_data_required = True
    return Handler
