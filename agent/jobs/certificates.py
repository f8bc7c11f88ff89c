"""Keys and certificates: what needs a crypto library, which is loaded on the first order.

A private key never leaves its file in the directory of keys; nothing here logs or returns one.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.effects import CheckCertificate, KeepKeys, MakeKey
from agent.core.events import CertificateChecked, CertificateFacts, KeyMade

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm
    from cryptography.x509 import Certificate, Name

LONGEST_CHAIN = 8
RSA_BITS, EC_BITS = 2048, 224
"""A00.FR.502, FR.503."""


def key_path(keys: Path, key: str) -> Path:
    """File of a key; one that the technician named stands where he put it."""
    return keys / key


def make_key(keys: Path, order: MakeKey) -> KeyMade:
    """A P-256 key in a 0600 file that is on the disk when this returns, and its request."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_durably(key_path(keys, order.key), pem)
        subject = x509.Name(
            [
                x509.NameAttribute(x509.NameOID.COMMON_NAME, order.common_name),
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, order.organization),
            ]
        )
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        request = builder.sign(private, hashes.SHA256())
    except (OSError, ImportError, ValueError) as error:
        return KeyMade(order.key, problem=_words(error))
    return KeyMade(order.key, request.public_bytes(serialization.Encoding.PEM).decode())


def write_durably(path: Path, content: bytes) -> None:
    """A file that only we can read: after a power cut it is there whole, or not at all."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700)
        _sync(path.parent.parent)
    draft = path.with_suffix(".new")
    with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """A file is on the disk once its name is."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def keep_keys(keys: Path, order: KeepKeys) -> None:
    """Leaves nothing else in the directory of keys; what cannot be removed now can be later."""
    if not keys.is_dir():
        return
    kept = {key_path(keys, key).absolute() for key in order.keys}
    for path in keys.iterdir():
        if path.absolute() not in kept:
            try:
                path.unlink()
            except OSError:
                pass


def check_certificate(keys: Path, order: CheckCertificate) -> CertificateChecked:
    """Each certificate signed by the next, the last by one of the roots; keys long enough."""
    try:
        from cryptography import x509
    except ImportError as error:
        return CertificateChecked(order.question, trouble=_words(error))
    try:
        chain = x509.load_pem_x509_certificates(order.chain.encode())
    except _unusable() as error:
        return CertificateChecked(order.question, problem=f"it is no certificate: {error}")
    try:
        return _judged(keys, order, chain)
    except _unusable() as error:
        return CertificateChecked(order.question, problem=f"it cannot be used: {error}")
    except OSError as error:
        return CertificateChecked(order.question, trouble=_words(error))


def _judged(keys: Path, order: CheckCertificate, chain: list[Certificate]) -> CertificateChecked:
    from cryptography import x509

    roots = [x509.load_pem_x509_certificate(root.encode()) for root in order.roots]
    problem = _problem(chain)
    if not problem and order.key and not _belongs(chain[0], key_path(keys, order.key)):
        problem = "it belongs to another key than the one requested for"
    issuers = [*chain[1:], *roots]
    facts = tuple(_facts(certificate, issuers) for certificate in chain)
    vouched_by = "" if problem else _voucher(chain, roots)
    return CertificateChecked(order.question, facts, vouched_by, problem)


def _unusable() -> tuple[type[Exception], ...]:
    """What the library raises for what stands in a certificate; not all of it is a ValueError."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    own = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
    return (ValueError, TypeError, UnsupportedAlgorithm, *own)


def facts_of(pem: str) -> list[tuple[str, CertificateFacts]]:
    """(PEM, facts) of each certificate of a bundle. Raises ValueError for what is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
        return [(c.public_bytes(Encoding.PEM).decode(), _facts(c, chain)) for c in chain]
    except _unusable() as error:
        raise ValueError(str(error)) from error


def _problem(chain: list[Certificate]) -> str:
    """What is wrong with the certificates themselves, or ""."""
    if len(chain) > LONGEST_CHAIN:
        return f"the chain has more than {LONGEST_CHAIN} certificates"
    for certificate in chain:
        if weakness := _weakness(certificate):
            return weakness
    for below, (child, parent) in enumerate(itertools.pairwise(chain)):
        if not _is_signed_by(child, parent, below):
            return "a certificate of the chain is not signed by the next one"
    return ""


def _weakness(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    key = certificate.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size >= RSA_BITS:
        return ""
    if isinstance(key, EllipticCurvePublicKey) and key.key_size >= EC_BITS:
        return ""
    return f"its key is neither RSA of {RSA_BITS} bits nor a curve of {EC_BITS} bits or more"


def _is_signed_by(child: Certificate, parent: Certificate, below: int = 0) -> bool:
    """`below`: certificates of authorities that stand between the child's and the chain's end."""
    from cryptography.exceptions import InvalidSignature

    try:
        child.verify_directly_issued_by(parent)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return _is_authority(parent, below)


def _voucher(chain: list[Certificate], roots: list[Certificate]) -> str:
    """Fingerprint of the root that signed the last certificate or is it."""
    for root in roots:
        if root == chain[-1] or _is_signed_by(chain[-1], root, len(chain) - 1):
            return _fingerprint(root)
    return ""


def _belongs(certificate: Certificate, path: Path) -> bool:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(path.read_bytes(), None)
    return bool(private.public_key() == certificate.public_key())


def _is_authority(certificate: Certificate, below: int = 0) -> bool:
    """It may sign certificates (RFC 5280 4.2.1.3, 4.2.1.9), with so many of authorities below."""
    from cryptography.x509 import BasicConstraints, ExtensionNotFound, KeyUsage

    try:
        basic = certificate.extensions.get_extension_for_class(BasicConstraints).value
    except ExtensionNotFound:
        return False
    if not basic.ca or (basic.path_length is not None and basic.path_length < below):
        return False
    try:
        return certificate.extensions.get_extension_for_class(KeyUsage).value.key_cert_sign
    except ExtensionNotFound:
        return True


def _may_sign(certificate: Certificate) -> bool:
    """Its key is for signatures (A00.FR.512), and not for something else alone."""
    from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound, KeyUsage
    from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

    extensions = certificate.extensions
    try:
        usage = extensions.get_extension_for_class(KeyUsage).value
        if not (usage.digital_signature or usage.content_commitment):
            return False
    except ExtensionNotFound:
        pass
    try:
        purposes = set(extensions.get_extension_for_class(ExtendedKeyUsage).value)
    except ExtensionNotFound:
        return True
    return bool(purposes & {Purpose.CODE_SIGNING, Purpose.ANY_EXTENDED_KEY_USAGE})


def _fingerprint(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.hashes import SHA256

    return certificate.fingerprint(SHA256()).hex()


def _facts(certificate: Certificate, others: list[Certificate]) -> CertificateFacts:
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
    from cryptography.x509 import NameOID

    issuer = next((c for c in others if _is_signed_by(certificate, c)), certificate)
    named = certificate.subject
    return CertificateFacts(
        fingerprint=_fingerprint(certificate),
        serial=f"{certificate.serial_number:x}",
        common_name=_attribute(named, NameOID.COMMON_NAME),
        organization=_attribute(named, NameOID.ORGANIZATION_NAME),
        not_before_s=certificate.not_valid_before_utc.timestamp(),
        not_after_s=certificate.not_valid_after_utc.timestamp(),
        is_authority=_is_authority(certificate),
        may_sign=_may_sign(certificate),
        hashes={
            algorithm.name.upper(): _issuer_hashes(certificate, issuer, algorithm)
            for algorithm in (SHA256(), SHA384(), SHA512())
        },
    )


def _attribute(name: Name, oid: object) -> str:
    found = name.get_attributes_for_oid(oid)  # type: ignore[arg-type]
    return str(found[0].value) if found else ""


def _issuer_hashes(
    certificate: Certificate, issuer: Certificate, algorithm: HashAlgorithm
) -> tuple[str, str]:
    """Of the issuer's name as DER, and of its key's bits without tag and length (RFC 6960)."""
    from cryptography.x509.ocsp import OCSPRequestBuilder

    request = OCSPRequestBuilder().add_certificate(certificate, issuer, algorithm).build()
    return request.issuer_name_hash.hex(), request.issuer_key_hash.hex()


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}; check space (`df -h`) and owner of the data directory"
    if isinstance(error, ImportError):
        return "the package cryptography is missing; install the agent whole"
    return str(error)
