"""TLS to the CSMS: whom we trust, and at what time (A00.FR.308, A00.FR.313)."""

import ssl
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from agent.errors import LinkError

BUILD_DATE = Path(__file__).with_name("build_date")
"""Written by the build hook: one line, the UTC day."""
FIRST_BUILD_S = 1_767_225_600.0
"""2026-01-01: holds for a checkout that was never built."""
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME; `ssl` passes it on but has no name for it."""
EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED"""


@cache
def build_date_s() -> float:
    """UTC seconds of the day this agent was built: it cannot be earlier now."""
    try:
        day = datetime.strptime(BUILD_DATE.read_text().strip(), "%Y-%m-%d")
    except (OSError, ValueError):
        return FIRST_BUILD_S
    return day.replace(tzinfo=UTC).timestamp()


def client_context(
    ca_file: str | None, certificate_file: str | None, key_file: str | None
) -> ssl.SSLContext:
    """TLS 1.2 or newer; certificate and name of the CSMS are checked.

    While the board's clock stands before the build date, certificates are checked as of that date:
    one that had expired by then is refused, one that was made later passes. All else is checked as
    always. Raises LinkError for files that cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate_file:
            context.load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise LinkError(
            f"a certificate file cannot be used ({error.strerror or error}); check that it "
            "exists, is readable for the service and is PEM"
        ) from None
    if time.time() < build_date_s():
        context.verify_flags |= NO_CHECK_TIME
        context.sslobject_class = _CheckedAsOfBuild
    return context


class _CheckedAsOfBuild(ssl.SSLObject):
    """Fails a handshake whose certificates had expired when the agent was built."""

    def do_handshake(self) -> None:
        super().do_handshake()
        # only the inner object tells the chain before Python 3.13
        for certificate in self._sslobj.get_verified_chain():  # type: ignore[attr-defined]
            not_after = certificate.get_info()["notAfter"]
            if ssl.cert_time_to_seconds(not_after) < build_date_s():
                error = ssl.SSLCertVerificationError(
                    ssl.SSL_ERROR_SSL, f"certificate expired on {not_after}"
                )
                error.verify_code = EXPIRED
                error.verify_message = f"expired on {not_after}, before this agent was built"
                raise error
