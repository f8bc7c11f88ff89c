"""SFTP: a server is known by its key in the technician's known_hosts file, and by nothing else.

Blocking, like all of `agent.jobs`; paramiko is loaded with the first transfer.
"""

import logging
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote

if TYPE_CHECKING:
    from paramiko import SFTPClient

PORT = 22
QUIET = "chargepoint.sftp"
"""Channel of paramiko's own log; what matters of it stands in the errors."""


class SftpRefused(OSError):
    """The server, or what it says, is not to be trusted; the text says what to look at."""


@contextmanager
def opened(where: SplitResult, known_hosts: str | None, timeout_s: float) -> Iterator["SFTPClient"]:
    """A session, logged in with name and password of the URL. Raises SftpRefused; PermissionError
    where the login is refused; OSError."""
    if known_hosts is None:
        raise SftpRefused("SFTP is off; name a known_hosts_file under `security` in charger.yaml")
    try:
        import paramiko
    except ImportError:
        raise SftpRefused("the package for SFTP is missing; install chargepoint[sftp]") from None
    logging.getLogger(QUIET).setLevel(logging.CRITICAL)
    host = where.hostname or ""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.set_log_channel(QUIET)
    try:
        client.load_host_keys(known_hosts)
        client.connect(
            host,
            where.port or PORT,
            unquote(where.username or ""),
            unquote(where.password or ""),
            timeout=timeout_s,
            banner_timeout=timeout_s,
            auth_timeout=timeout_s,
            channel_timeout=timeout_s,
            allow_agent=False,
            look_for_keys=False,
        )
        with client.open_sftp() as session:
            channel = session.get_channel()
            assert channel is not None
            channel.settimeout(timeout_s)
            yield session
    except paramiko.BadHostKeyException as error:
        text = f"{host} shows another key than {known_hosts} holds; ask its owner, then correct it"
        raise SftpRefused(text) from error
    except paramiko.AuthenticationException as error:
        raise PermissionError(f"the login is refused ({error})") from error
    except paramiko.SSHException as error:
        raise SftpRefused(f"{error}; is the line of `ssh-keyscan` in {known_hosts}?") from error
    finally:
        client.close()


def target_of(session: "SFTPClient", path: str, name: str) -> str:
    """In a directory under our name; what is no directory is the file itself."""
    if path[-1:] in ("/", ""):
        return path + name
    try:
        is_directory = stat.S_ISDIR(session.stat(path).st_mode or 0)
    except FileNotFoundError:
        is_directory = False
    return f"{path}/{name}" if is_directory else path
