"""Keys, certificates and the security log: what lies on the disk, and what is said of it."""

import asyncio
import json
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from ssl import DER_cert_to_PEM_cert, PEM_cert_to_DER_cert
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.effects import CheckCertificate, KeepKeys, LogSecurity, MakeKey
from agent.core.events import CertificateChecked, KeyMade, SecurityNoted
from agent.jobs import security_log
from agent.jobs.certificates import check_certificate, facts_of
from agent.jobs.chores import Chores
from hil.parts.pki import EARLY, LATE, Root, read_request, subject_of

KEY = MakeKey("k.pem", "SN-1", "Maker")
FUZZED = Root("fuzzed")


class Room:
    """Chores in a data directory; `heard` is what they posted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.heard: list[object] = []
        self.chores = Chores(directory, self.heard.append, inline=True)

    def made(self) -> KeyMade:
        self.chores.do(KEY)
        (made,) = self.heard
        assert isinstance(made, KeyMade)
        self.heard.clear()
        return made

    def checked(self, chain: str, *roots: Root, key: str = "") -> CertificateChecked:
        self.chores.do(CheckCertificate("q", chain, tuple(root.pem for root in roots), key))
        checked = self.heard.pop()
        assert isinstance(checked, CertificateChecked)
        assert checked.question == "q"
        return checked


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_key_is_made_for_us_alone_and_its_request_names_the_station(room: Room) -> None:
    made = room.made()
    assert not made.problem
    path = room.directory / "keys" / "k.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["k.pem"], "no draft is left"
    assert read_request(made.request).subject == subject_of("SN-1", "Maker")
    assert "PRIVATE" not in made.request


def test_a_disk_that_takes_no_key_is_told(room: Room) -> None:
    (room.directory / "keys").write_text("in the way")
    made = room.made()
    assert made.request == ""
    assert "data directory" in made.problem


def test_only_the_keys_that_are_named_stay(room: Room) -> None:
    room.chores.do(KeepKeys(("a.pem",)))  # there is no directory yet
    keys = room.directory / "keys"
    keys.mkdir()
    for name in ("a.pem", "b.pem", "c.new"):
        (keys / name).write_text(name)
    room.chores.do(KeepKeys(("a.pem",)))
    assert [path.name for path in keys.iterdir()] == ["a.pem"]


def test_a_key_that_the_technician_put_there_stays(room: Room) -> None:
    """charger.yaml names it by its whole path."""
    keys = room.directory / "keys"
    keys.mkdir()
    (keys / "own.pem").write_text("own")
    room.chores.do(KeepKeys((str(keys / "own.pem"),)))
    assert (keys / "own.pem").exists()


def test_the_chain_is_followed_to_a_root_that_is_known(room: Room) -> None:
    root, other = Root("root"), Root("other")
    middle = Root("middle", signer=root)
    leaf = middle.sign(room.made().request)
    found = room.checked(leaf + middle.pem, other, root, key="k.pem")
    assert (found.problem, found.vouched_by) == ("", root.fingerprint)
    assert [facts.common_name for facts in found.chain] == ["SN-1", "middle"]
    assert [facts.is_authority for facts in found.chain] == [False, True]
    assert room.checked(leaf + middle.pem, other).vouched_by == ""
    assert room.checked(leaf, middle).vouched_by == middle.fingerprint
    assert room.checked(leaf, root).vouched_by == "", "the middle is missing"
    assert "not signed by the next" in room.checked(leaf + other.pem, other).problem


def test_a_certificate_of_another_key_is_told_from_ours(room: Room) -> None:
    root = Root("root")
    room.made()
    strange, _ = root.identity("SN-1")
    assert "another key" in room.checked(strange, root, key="k.pem").problem
    assert room.checked(strange, root, key="gone.pem").trouble


@pytest.mark.parametrize("algorithm", ["SHA256", "SHA384", "SHA512"])
def test_hash_data_is_what_the_library_says(room: Room, algorithm: str) -> None:
    old = Root("old")
    new = Root("new", signer=old)
    (facts,) = room.checked(new.pem, old).chain
    expected = new.hash_data(algorithm)
    assert facts.hashes[algorithm] == (expected["issuerNameHash"], expected["issuerKeyHash"])
    assert facts.serial == expected["serialNumber"]


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAA\n", "ä"])
def test_what_is_no_certificate_is_a_problem_not_a_crash(room: Room, text: str) -> None:
    assert room.checked(text).problem


def odd(change: Callable[[x509.CertificateBuilder], x509.CertificateBuilder], key: Any) -> str:
    """PEM of a certificate for a key, signed by itself."""
    name = subject_of("odd", "Bench")
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, EARLY, LATE)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return change(made).sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def same(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder


def garbled(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    """An extension whose content is none."""
    for oid in ("2.5.29.19", "2.5.29.15", "2.5.29.37"):
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x30\x03junk")
        builder = builder.add_extension(extension, critical=False)
    return builder


ODD = {
    "Ed25519": odd(same, ed25519.Ed25519PrivateKey.generate()),
    "DSA": odd(same, dsa.generate_private_key(1024)),
    "a small curve": odd(same, ec.generate_private_key(ec.SECP192R1())),
    "no extensions": odd(garbled, ec.generate_private_key(ec.SECP256R1())),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_certificate_is_a_problem_not_a_crash(room: Room, kind: str) -> None:
    assert room.checked(ODD[kind]).problem


def spoiled(pem: str, at: int, byte: int) -> str:
    der = bytearray(PEM_cert_to_DER_cert(pem))
    der[at % len(der)] = byte
    return DER_cert_to_PEM_cert(bytes(der))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 2000), byte=st.integers(0, 255))
def test_a_spoiled_certificate_is_judged_whatever_is_wrong_with_it(at: int, byte: int) -> None:
    """A CSMS that gets no answer waits; one that gets one knows."""
    order = CheckCertificate("q", spoiled(FUZZED.pem, at, byte), (FUZZED.pem,))
    assert check_certificate(Path("nowhere"), order).question == "q"
    with suppress(ValueError):
        facts_of(spoiled(FUZZED.pem, at, byte))


def test_an_authority_signs_what_its_own_certificate_lets_it(room: Room) -> None:
    """RFC 5280 4.2.1.3 and 4.2.1.9: keyCertSign, and how many authorities may be below."""
    flat = Root("flat", path_length=0)
    middle = Root("middle", signer=flat)
    leaf = middle.sign(room.made().request)
    assert room.checked(middle.pem, flat).vouched_by == flat.fingerprint
    assert room.checked(leaf + middle.pem, flat).vouched_by == ""
    mute = Root("mute", signs=False)
    assert room.checked(mute.sign(room.made().request), mute).vouched_by == ""


@pytest.mark.parametrize(
    ("purposes", "may"),
    [
        ((), True),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), True),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), True),
        ((ExtendedKeyUsageOID.CLIENT_AUTH,), False),
    ],
)
def test_what_a_key_is_for_is_told(
    room: Room, purposes: tuple[x509.ObjectIdentifier, ...], may: bool
) -> None:
    root = Root("maker")
    (facts,) = room.checked(root.signer(purposes=purposes), root).chain
    assert facts.may_sign is may
    (facts,) = room.checked(root.pem, root).chain
    assert not facts.may_sign, "its usage is to sign certificates"


def test_a_log_that_somebody_shortens_is_told_of_once(room: Room) -> None:
    path = room.directory / "security.log"
    for number in range(3):
        room.chores.do(LogSecurity("InvalidMessages", 1e9 + number))
    assert room.heard == []
    for cut in (path.unlink, lambda: path.write_text("")):
        cut()
        room.chores.do(LogSecurity("InvalidMessages", 1e9))
        (event,) = room.heard
        assert isinstance(event, SecurityNoted)
        assert event.type == "SecurityLogWasCleared"
        room.heard.clear()
        room.chores.do(LogSecurity("InvalidMessages", 1e9))
        assert room.heard == []


def test_the_log_is_bounded_and_loses_the_oldest(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security_log, "MOST_BYTES", 2_000)
    for number in range(200):
        room.chores.do(LogSecurity("InvalidMessages", 1e9 + number, f"number {number}"))
    path = room.directory / "security.log"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.stat().st_size < 2_200
    assert lines[-1]["info"] == "number 199"
    assert lines[-1]["time"] == "2001-09-09T01:49:59.000+00:00"
    assert len(lines) > 5
    assert room.heard == [], "that was nobody else"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_in_a_thread_the_sequence_stays_and_answers_come_through_the_loop(
    tmp_path: Path,
) -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()
    chores = Chores(tmp_path, heard.put_nowait)
    for number in range(20):
        chores.do(LogSecurity("InvalidMessages", 1e9, str(number)))
    chores.do(KEY)
    assert heard.empty(), "the loop is not held up"
    made = await heard.get()
    assert isinstance(made, KeyMade)
    lines = (tmp_path / "security.log").read_text().splitlines()
    assert [json.loads(line)["info"] for line in lines] == [str(n) for n in range(20)]
    chores.close()
