"""Certificate files of the technician: each content is taken over once, then the CSMS decides."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.core.effects import Log, Save
from agent.credentials import TAKEN_KEY, certificates_of_file, password_of
from agent.errors import SettingsError
from agent.jobs.certificates import facts_of
from agent.ocpp import certificates
from agent.ocpp.certificates import CSMS, MANUFACTURER, Certificates
from agent.ocpp.station_certificate import StationCertificate
from agent.settings import CsmsEndpoint, Security, Settings
from hil.parts.pki import Root
from hil.sim import SimBench
from hil.virtual_time import run_virtual


def after(saved: dict[str, str], saves: tuple[Save, ...]) -> dict[str, str]:
    """The state table, those saves done."""
    state = dict(saved)
    for save in saves:
        if save.value is None:
            state.pop(save.key, None)
        else:
            state[save.key] = save.value
    return state


def file_of(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_bundle_of_roots_is_taken_over_once(tmp_path: Path) -> None:
    roots = [Root("one"), Root("two")]
    security = Security(file_of(tmp_path / "ca.pem", "".join(root.pem for root in roots)))
    state = after({}, certificates_of_file(security, {}, facts_of))
    known = Certificates(state).roots()
    assert {root.facts.fingerprint for root in known} == {root.fingerprint for root in roots}
    assert certificates_of_file(security, state, facts_of) == ()


def test_the_makers_root_is_there_from_the_factory(tmp_path: Path) -> None:
    """It vouches for firmware and for nothing else."""
    maker, csms = Root("maker"), Root("csms")
    security = Security(
        ca_file=file_of(tmp_path / "ca.pem", csms.pem),
        manufacturer_ca_file=file_of(tmp_path / "maker.pem", maker.pem),
    )
    state = after({}, certificates_of_file(security, {}, facts_of))
    known = Certificates(state)
    assert [root.facts.fingerprint for root in known.roots(MANUFACTURER)] == [maker.fingerprint]
    assert [root.facts.fingerprint for root in known.roots(CSMS)] == [csms.fingerprint]
    (root,) = known.roots(MANUFACTURER)
    state = after(state, tuple(known.delete(root)))
    assert certificates_of_file(security, state, facts_of) == ()


def test_another_root_in_the_makers_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """No CSMS can delete it. What a CSMS had installed beside it stays; the way back is open."""
    first, second = Root("first"), Root("second")
    path = tmp_path / "maker.pem"
    state: dict[str, str] = {}
    for root in (first, second, first):
        security = Security(manufacturer_ca_file=file_of(path, root.pem))
        state = after(state, certificates_of_file(security, state, facts_of))
        (known,) = Certificates(state).roots(MANUFACTURER)
        assert known.facts.fingerprint == root.fingerprint
    beside = certificates.Root(MANUFACTURER, second.pem, facts_of(second.pem)[0][1])
    state = after(state, tuple(Certificates(state).install(beside)))
    security = Security(manufacturer_ca_file=file_of(path, Root("third").pem))
    state = after(state, certificates_of_file(security, state, facts_of))
    names = {root.facts.common_name for root in Certificates(state).roots(MANUFACTURER)}
    assert names == {"second", "third"}


def test_a_root_that_the_csms_deleted_does_not_come_back_until_the_file_changes(
    tmp_path: Path,
) -> None:
    old, new = Root("old"), Root("new")
    security = Security(file_of(tmp_path / "ca.pem", old.pem))
    state = after({}, certificates_of_file(security, {}, facts_of))
    (root,) = Certificates(state).roots()
    state = after(state, tuple(Certificates(state).delete(root)))
    assert certificates_of_file(security, state, facts_of) == ()
    file_of(tmp_path / "ca.pem", new.pem)
    state = after(state, certificates_of_file(security, state, facts_of))
    assert [root.facts.common_name for root in Certificates(state).roots()] == ["new"]


def test_a_station_certificate_of_the_file_replaces_what_was_kept(tmp_path: Path) -> None:
    root = Root("root")
    kept = ""
    state: dict[str, str] = {}
    for _ in range(2):
        certificate, key = root.identity("CP-1")
        security = Security(
            certificate_file=file_of(tmp_path / "own.pem", certificate),
            key_file=file_of(tmp_path / "own.key", key),
        )
        state = after(state, certificates_of_file(security, state, facts_of))
        newest = StationCertificate(state).newest
        assert newest is not None
        assert newest.key == str(tmp_path / "own.key")
        assert newest.facts.fingerprint != kept
        kept = newest.facts.fingerprint
    assert len(msgspec.json.decode(state[TAKEN_KEY])) == 2


def test_the_library_is_not_needed_for_files_that_are_known(tmp_path: Path) -> None:
    """It costs 8 MB on a board that starts."""
    security = Security(file_of(tmp_path / "ca.pem", Root("root").pem))
    state = after({}, certificates_of_file(security, {}, facts_of))

    def never(text: str) -> list[object]:
        raise AssertionError("read again")

    assert certificates_of_file(security, state, never) == ()  # type: ignore[arg-type]


def test_certificates_that_were_taken_over_are_in_the_security_log_once(tmp_path: Path) -> None:
    def named(settings: Settings) -> Settings:
        security = Security(file_of(tmp_path / "ca.pem", Root("one").pem))
        return msgspec.structs.replace(settings, security=security)

    async def scene() -> None:
        async with SimBench(change=named) as bench:
            await bench.csms.wait_for("StatusNotification")
            await bench.power_cut()
            await bench.start()
            await asyncio.sleep(60)
            log = (bench.directory / "security.log").read_text()
            assert log.count("certificates of charger.yaml were taken over") == 1

    run_virtual(scene())


def in_a_file(directory: Path) -> tuple[Path, Callable[[Settings], Settings]]:
    """The password stands in that file; and settings that name it."""
    secret = directory / "password"
    secret.write_text("sixteen-letters!")

    def named(settings: Settings) -> Settings:
        (csms,) = settings.csms
        csms = msgspec.structs.replace(csms, password_file=str(secret), lab_unsecured=False)
        return msgspec.structs.replace(settings, csms=(csms,))

    return secret, named


def test_a_password_file_that_is_gone_for_a_while_is_no_bug(tmp_path: Path) -> None:
    secret, named = in_a_file(tmp_path)

    async def scene() -> None:
        async with SimBench(change=named) as bench:
            await bench.csms.wait_for("BootNotification")
            secret.rename(tmp_path / "away")
            await bench.network.drop()
            await asyncio.sleep(300)
            told = [effect.text for effect in bench.effects if isinstance(effect, Log)]
            assert any("password cannot be read" in text for text in told)
            await bench.network.accept()
            await asyncio.sleep(300)
            assert not bench.csms.is_connected, "nobody dials without its password"
            (tmp_path / "away").rename(secret)
            await bench.csms.wait_connected(timeout_s=600)

    run_virtual(scene())


def test_a_password_that_the_csms_has_set_needs_no_file(tmp_path: Path) -> None:
    secret, named = in_a_file(tmp_path)

    async def scene() -> None:
        async with SimBench(change=named) as bench:
            await bench.csms.wait_for("BootNotification")
            item = {
                "component": {"name": "SecurityCtrlr"},
                "variable": {"name": "BasicAuthPassword"},
                "attributeValue": "set-by-the-CSMS-itself",
            }
            await bench.csms.call("SetVariables", {"setVariableData": [item]})
            secret.unlink()
            await bench.power_cut()
            await bench.start()
            await bench.csms.wait_connected(timeout_s=60)
            assert bench.network.dials[-1][2].password == "set-by-the-CSMS-itself"

    run_virtual(scene())


def test_a_password_file_in_another_encoding_is_told_and_no_bug(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_bytes("sechzehn-schl\u00fcssel".encode("latin-1"))
    with pytest.raises(SettingsError, match="UTF-8; write its file anew") as caught:
        password_of(CsmsEndpoint(url="wss://a", password_file=str(secret)))
    assert "sechzehn" not in str(caught.value)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        certificates_of_file(Security(str(tmp_path / "gone.pem")), {}, facts_of)
    with pytest.raises(SettingsError, match="is no PEM certificate"):
        certificates_of_file(Security(file_of(tmp_path / "x", "nonsense")), {}, facts_of)
