"""A real SFTP server on loopback that shows one directory, with a key made at its start."""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko

USER, PASSWORD = "charger", "open sesame"


class _Door(paramiko.ServerInterface):  # type: ignore[misc]  # no types
    def __init__(self, owner: "SftpServer", transport: Any) -> None:
        self._owner, self._transport = owner, transport

    def check_auth_password(self, username: str, password: str) -> int:
        self._owner.logins += 1
        if self._owner.hangs_up:
            self._transport.close()
        is_right = (username, password) == (USER, PASSWORD)
        return int(paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)


class _Files(paramiko.SFTPServerInterface):  # type: ignore[misc]  # no types
    """`root` is all there is."""

    def __init__(self, server: Any, owner: "SftpServer") -> None:
        super().__init__(server)
        self._owner = owner

    def _path(self, path: str) -> Path:
        return Path(self._owner.root, self.canonicalize(path).lstrip("/"))

    def stat(self, path: str) -> Any:
        if self._owner.is_letter_box:
            return paramiko.SFTP_PERMISSION_DENIED
        try:
            found = paramiko.SFTPAttributes.from_stat(os.stat(self._path(path)))
            found.st_size -= self._owner.loses_bytes
            return found
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def open(self, path: str, flags: int, attr: Any) -> Any:
        if self._owner.is_closed:
            return paramiko.SFTP_PERMISSION_DENIED
        try:
            number = os.open(self._path(path), flags, 0o600)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        handle = _Handle(flags)
        handle.owner = self._owner
        handle.readfile = handle.writefile = os.fdopen(number, "wb" if flags & 3 else "rb")
        return handle


class _Handle(paramiko.SFTPHandle):  # type: ignore[misc]  # no types
    owner: "SftpServer"

    def read(self, offset: int, length: int) -> Any:
        self.owner.offsets.append(offset)
        cut_at = self.owner.cut_at
        if cut_at is not None and offset + length > cut_at:
            self.owner.cut_at = None
            return paramiko.SFTP_FAILURE
        return super().read(offset, length)

    def stat(self) -> Any:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


class SftpServer:
    """`with SftpServer(root) as server`: `url` is its root with the login in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = paramiko.ECDSAKey.generate()
        self.cut_at: int | None = None
        """The next reading beyond this byte fails."""
        self.logins = 0
        self.hangs_up = False
        """In place of an answer to the login."""
        self.is_letter_box = False
        """Files can be put in, and nothing can be looked at."""
        self.is_closed = False
        """No file can be opened."""
        self.loses_bytes = 0
        """So much smaller a file is told than it is."""
        self.offsets: list[int] = []
        """Where was read."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._transports: list[Any] = []

    @property
    def url(self) -> str:
        login = f"{USER}:{PASSWORD.replace(' ', '%20')}"
        return f"sftp://{login}@127.0.0.1:{self.port}/"

    def known_hosts(self, key: Any = None) -> str:
        """The line that a technician would take over."""
        key = key or self.key
        return f"[127.0.0.1]:{self.port} {key.get_name()} {key.get_base64()}\n"

    def __enter__(self) -> "SftpServer":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        for transport in self._transports:
            transport.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                transport = paramiko.Transport(connection)
                transport.add_server_key(self.key)
                transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files, self)
                self._transports.append(transport)
                with suppress(paramiko.SSHException, EOFError):
                    transport.start_server(server=_Door(self, transport))
