"""What the CSMS may name as the place of a file, and how patient a transfer is with it."""

import re

PROTOCOLS = {"ftp": "FTP", "ftps": "FTPS", "http": "HTTP", "https": "HTTPS"}
"""Scheme of a URL -> FileTransferProtocol of the device model."""
SFTP = {"sftp": "SFTP"}
"""Where the technician has named the servers' keys."""
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://[^\s/?#\\]+[^\s\\]*")

RETRIES = 3
RETRY_INTERVAL_S = 60.0
"""Where the CSMS leaves it to the station (L01, N01)."""
MOST_RETRIES = 100
LONGEST_INTERVAL_S = 86_400.0


def protocols(*, has_sftp: bool) -> dict[str, str]:
    """Those of this station, as PROTOCOLS."""
    return PROTOCOLS | SFTP if has_sftp else PROTOCOLS


def protocol_of(url: str, *, has_sftp: bool = False) -> str | None:
    """The protocol that fetches or takes a file there; None for anything else, `file:` for one."""
    match = _URL.fullmatch(url)
    if match is None or not url.isprintable():
        return None
    return protocols(has_sftp=has_sftp).get(match[1].lower())


def patience(retries: int | None, interval_s: float | None) -> tuple[int, float]:
    """(tries after the first, seconds between them), within reason."""
    count = RETRIES if retries is None else min(max(retries, 0), MOST_RETRIES)
    pause_s = RETRY_INTERVAL_S if interval_s is None else float(interval_s)
    return count, min(max(pause_s, 1.0), LONGEST_INTERVAL_S)
