"""Where a line is: a serial device, or a host on the network."""

from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

SCHEMES = ("tcp", "rtu-tcp")
DEFAULT_TCP_PORT = 502


class Host(Struct, frozen=True):
    """A Modbus host: `tcp` frames with transaction numbers, `rtu-tcp` serial frames in a socket."""

    scheme: Literal["tcp", "rtu-tcp"]
    name: str
    tcp_port: int


def host_of(port: str) -> Host | None:
    """The host that `port` names, as in tcp://192.168.1.9:502; None where it is a device path.

    Raises ValueError, with what is wrong.
    """
    scheme, separator, _ = port.partition("://")
    if not separator:
        return None
    if scheme not in SCHEMES:
        raise ValueError(f"{port} begins with {scheme}://; write tcp:// or rtu-tcp://")
    parts = urlsplit(port)
    try:
        number = parts.port or DEFAULT_TCP_PORT
    except ValueError:
        raise ValueError(f"{port} has no usable port number; write 1 to 65535") from None
    if not parts.hostname or parts.path.strip("/") or parts.username or parts.query:
        raise ValueError(f"{port} is no address; write {scheme}://192.168.1.9:{number}")
    return Host("tcp" if scheme == "tcp" else "rtu-tcp", parts.hostname, number)
