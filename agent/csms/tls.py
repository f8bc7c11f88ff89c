"""TLS to the CSMS: whom we trust, at what time, under which name, and what we show (A00.FR.301 to
FR.514)."""

import os
import ssl
import time
from collections.abc import Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from msgspec import Struct

from agent.errors import LinkError

BUILD_DATE = Path(__file__).with_name("build_date")
"""Written by the build hook: one line, the UTC day."""
FIRST_BUILD_S = 1_767_225_600.0
"""2026-01-01: holds for a checkout that was never built."""
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME; `ssl` passes it on but has no name for it."""
EXPIRED, HOSTNAME_MISMATCH = 10, 62
"""X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_HOSTNAME_MISMATCH"""
SUITES = ":".join(
    f"ECDHE-{kind}-{cipher}"
    for kind in ("ECDSA", "RSA")
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
)
"""For TLS 1.2 (A00.FR.319, FR.320): those with forward secrecy; TLS 1.3 has good ones only."""

TOO_OLD = frozenset(
    {
        "NO_PROTOCOLS_AVAILABLE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "VERSION_TOO_LOW",
        "WRONG_SSL_VERSION",
    }
)
NO_COMMON_SUITE = frozenset(
    {
        "NO_CIPHERS_AVAILABLE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        "UNKNOWN_CIPHER_RETURNED",
        "WRONG_CIPHER_RETURNED",
    }
)
NOT_WANTED = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)
"""Reasons of OpenSSL: what the other side has to say of our own certificate."""


class Trust(Struct, frozen=True):
    """Whom a dial trusts, and what it shows."""

    roots: tuple[str, ...] = ()
    """PEM of the roots that may vouch for the CSMS; none: those of the system."""
    chain: str = ""
    """PEM of the station's own certificate, itself first (security profile 3)."""
    key_file: str = ""
    """Its private key: PEM, or whatever OpenSSL's providers read, for example a TPM's."""
    takes_wildcards: bool = False
    """AllowCSMSTLSWildcards."""

    def __repr__(self) -> str:
        return f"Trust({len(self.roots)} roots, shows {'one' if self.chain else 'none'})"


@cache
def build_date_s() -> float:
    """UTC seconds of the day this agent was built: it cannot be earlier now."""
    try:
        day = datetime.strptime(BUILD_DATE.read_text().strip(), "%Y-%m-%d")
    except (OSError, ValueError):
        return FIRST_BUILD_S
    return day.replace(tzinfo=UTC).timestamp()


def client_context(trust: Trust) -> ssl.SSLContext:
    """TLS 1.2 or newer; certificate and name of the CSMS are checked.

    While the board's clock stands before the build date, certificates are checked as of that date:
    one that had expired by then is refused, one that was made later passes. All else is checked as
    always. Raises LinkError for certificates and keys that cannot be used.
    """
    try:
        context = ssl.create_default_context(cadata="\n".join(trust.roots) or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(SUITES)
        # an installed root may be signed by the one it replaces (M05.FR.10)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if trust.chain:
            with _as_file(trust.chain) as path:
                # without a password OpenSSL would ask for one at the terminal, and wait
                context.load_cert_chain(path, trust.key_file, password="")
    except (OSError, ssl.SSLError) as error:
        raise LinkError(
            f"a certificate or its key cannot be used ({error.strerror or error}); check that the "
            "files exist, are readable for the service, are PEM and belong together"
        ) from None
    before_build = _is_before_build()
    if before_build:
        context.verify_flags |= NO_CHECK_TIME
    context.sslobject_class = _checked_by(trust.takes_wildcards, before_build)
    return context


def _is_before_build() -> bool:
    return time.time() < build_date_s()


def hold_to_build_date(context: ssl.SSLContext) -> None:
    """The same grace, and the same bound to it, for blocking sockets: those to file servers."""
    if _is_before_build():
        context.verify_flags |= NO_CHECK_TIME
        context.sslsocket_class = _SocketAsOfBuild


class _SocketAsOfBuild(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check_as_of_build(self)


@contextmanager
def _as_file(text: str) -> Any:
    """A path that holds the text: `ssl` reads a chain from a file only."""
    number = os.memfd_create("chain")
    try:
        os.write(number, text.encode())
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


@cache
def _checked_by(takes_wildcards: bool, before_build: bool) -> type[ssl.SSLObject]:
    """What must hold beside OpenSSL's checks, before a byte of HTTP leaves."""

    class Checked(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            if before_build:
                _check_as_of_build(self)
            certificate = self.getpeercert() or {}
            if problem := name_problem(certificate, self.server_hostname or "", takes_wildcards):
                raise _refusal(problem, HOSTNAME_MISMATCH)

    return Checked


def _check_as_of_build(connection: ssl.SSLObject | ssl.SSLSocket) -> None:
    """Fails a handshake whose certificates had expired when the agent was built."""
    for certificate in _verified_chain(connection):
        not_after = certificate.get_info()["notAfter"]
        if ssl.cert_time_to_seconds(not_after) < build_date_s():
            raise _refusal(f"expired on {not_after}, before this agent was built", EXPIRED)


def _verified_chain(connection: ssl.SSLObject | ssl.SSLSocket) -> list[Any]:
    # only the inner object tells the chain before Python 3.13
    chain = connection._sslobj.get_verified_chain()  # type: ignore[union-attr]
    return list(chain or ())


def trusted_by(connection: object) -> str:
    """SHA-256 of the certificate that the verified chain ends with, in hex digits."""
    if not isinstance(connection, ssl.SSLObject):
        return ""
    chain = _verified_chain(connection)
    return sha256(ssl.PEM_cert_to_DER_cert(chain[-1].public_bytes())).hexdigest() if chain else ""


def _refusal(problem: str, code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, problem)
    error.verify_code, error.verify_message = code, problem
    return error


def name_problem(certificate: Mapping[str, Any], host: str, takes_wildcards: bool) -> str:
    """Why a certificate, already found to match, is not the CSMS's own, or "" (A00.FR.309, FR.510).

    OpenSSL is content with any of the alternative names; the standard wants the common name to be
    the host's, and no wildcard. A host that is an address is compared by OpenSSL alone.
    """
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        return ""
    subject = dict(pair for rdn in certificate.get("subject", ()) for pair in rdn)
    common_name = subject.get("commonName")
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if common_name is not None and not _fits(common_name, host, takes_wildcards):
        if "*" in common_name and not takes_wildcards:
            return f"its common name {common_name} is a wildcard"
        return f"its common name {common_name} is not {host}"
    if names and not any(_fits(name, host, takes_wildcards) for name in names):
        return "its alternative name is a wildcard"
    return ""


def _fits(name: str, host: str, takes_wildcards: bool) -> bool:
    name, host = name.lower().rstrip("."), host.lower().rstrip(".")
    if takes_wildcards and name.startswith("*."):
        return host.partition(".")[2] == name[2:]
    return name == host


def security_event(error: BaseException) -> str:
    """Name of a failed handshake in the standard's list of security events, or ""."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "InvalidCsmsCertificate"
    reason = error.reason if isinstance(error, ssl.SSLError) else ""
    if reason in TOO_OLD:
        return "InvalidTLSVersion"
    if reason in NO_COMMON_SUITE:
        return "InvalidTLSCipherSuite"
    return "FailedToAuthenticateAtCsms" if reason in NOT_WANTED else ""
