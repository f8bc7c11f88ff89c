"""Certificates of a bench's own, by the library `cryptography`: roots, servers, signed requests."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import Certificate, CertificateSigningRequest, Name
from cryptography.x509.ocsp import OCSPRequestBuilder

PEM = serialization.Encoding.PEM
EARLY, LATE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
PAST, FUTURE = datetime(2021, 1, 1, tzinfo=UTC), datetime(2080, 1, 1, tzinfo=UTC)
ALL_SUITES = "ALL:@SECLEVEL=0"


def subject_of(common_name: str, organization: str) -> Name:
    return Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization),
        ]
    )


class Root:
    """A root certificate; with `signer` it is signed by that one instead of itself."""

    def __init__(
        self,
        name: str,
        signer: "Root | None" = None,
        start: datetime = EARLY,
        end: datetime = LATE,
        *,
        path_length: int | None = None,
        signs: bool = True,
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._signer: Root = signer or self
        subject = subject_of(name, "Bench")
        self.subject = subject
        builder = _builder(subject, self._signer.subject, self._key.public_key(), start, end)
        builder = builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
        builder = builder.add_extension(_key_usage(signs=signs), critical=True)
        self.certificate: Certificate = builder.sign(self._signer._key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return _text(self.certificate)

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex digits."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def hash_data(self, algorithm: str = "SHA256") -> dict[str, str]:
        """CertificateHashDataType of this root."""
        return hash_data(self.certificate, self._signer.certificate, algorithm)

    def server(
        self,
        host: str,
        *,
        common_name: str | None = None,
        start: datetime = EARLY,
        end: datetime = LATE,
    ) -> str:
        """PEM of a server's certificate and key; `host` stands as alternative name."""
        key = ec.generate_private_key(ec.SECP256R1())
        named = subject_of(host if common_name is None else common_name, "Bench")
        builder = _builder(named, self.certificate.subject, key.public_key(), start, end)
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _text(certificate) + private.decode()

    def signer(self, purposes: tuple[x509.ObjectIdentifier, ...] = ()) -> str:
        """PEM of a certificate for signing firmware, without its key; for these purposes only."""
        key, named = ec.generate_private_key(ec.SECP256R1()), subject_of("firmware", "Bench")
        builder = _builder(named, self.certificate.subject, key.public_key(), EARLY, LATE)
        builder = builder.add_extension(_key_usage(signs=False), critical=True)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return _text(builder.sign(self._key, hashes.SHA256()))

    def sign(
        self,
        request_pem: str,
        *,
        subject: Name | None = None,
        start: datetime = EARLY,
        end: datetime = LATE,
    ) -> str:
        """PEM of the certificate for a request."""
        request = read_request(request_pem)
        named = request.subject if subject is None else subject
        builder = _builder(named, self.certificate.subject, request.public_key(), start, end)
        return _text(builder.sign(self._key, hashes.SHA256()))

    def identity(self, common_name: str, end: datetime = LATE) -> tuple[str, str]:
        """(certificate, key) of a station, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = subject_of(common_name, "Bench")
        builder = _builder(subject, self.certificate.subject, key.public_key(), EARLY, end)
        private = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _text(builder.sign(self._key, hashes.SHA256())), private.decode()


def certificate_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    """PEM of a certificate that a signer of firmware made for himself."""
    name = subject_of("firmware", "Bench")
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, EARLY, LATE)
    return _text(builder.sign(key, hashes.SHA256()))


def _text(certificate: Certificate) -> str:
    return certificate.public_bytes(PEM).decode()


def _builder(
    subject: Name, issuer: Name, public_key: object, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public_key,  # type: ignore[arg-type]
        serial_number=x509.random_serial_number(),
        not_valid_before=start,
        not_valid_after=end,
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)


def read_request(pem: str) -> CertificateSigningRequest:
    """A certificate signing request; its signature is checked. Raises ValueError."""
    request = x509.load_pem_x509_csr(pem.encode())
    if not request.is_signature_valid:
        raise ValueError("the request is not signed with its own key")
    return request


def hash_data(certificate: Certificate, issuer: Certificate, algorithm: str) -> dict[str, str]:
    """CertificateHashDataType, by the library's own words for OCSP."""
    method = {"SHA256": hashes.SHA256(), "SHA384": hashes.SHA384(), "SHA512": hashes.SHA512()}
    request = OCSPRequestBuilder().add_certificate(certificate, issuer, method[algorithm]).build()
    return {
        "hashAlgorithm": algorithm,
        "issuerNameHash": request.issuer_name_hash.hex(),
        "issuerKeyHash": request.issuer_key_hash.hex(),
        "serialNumber": f"{certificate.serial_number:x}",
    }


def server_context(
    directory: Path,
    certificate_and_key: str,
    *,
    clients_of: Root | None = None,
    version: ssl.TLSVersion | None = None,
    suites: str | None = None,
) -> ssl.SSLContext:
    """What a CSMS listens with. `clients_of`: who must have signed the station's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = directory / "server.pem"
    path.write_text(certificate_and_key)
    context.load_cert_chain(path)
    path.unlink()
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=clients_of.pem)
    if version is not None:
        context.set_ciphers(ALL_SUITES)
        context.minimum_version = context.maximum_version = version
    if suites is not None:
        context.set_ciphers(suites)
    return context
