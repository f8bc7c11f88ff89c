"""What a CSMS has changed since charger.yaml was written, as doctor learns of it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agent import doctor_kept
from agent.console import ConsoleError
from agent.credentials import TAKEN_KEY, certificates_of_file
from agent.doctor_kept import UNKNOWN, Kept, kept, of_state
from agent.doctor_network import trust_of
from agent.jobs.certificates import facts_of
from agent.ocpp.certificates import CSMS, first_saves
from agent.ocpp.passwords import Passwords
from agent.settings import Security, Settings
from agent.status import kept as told
from hil.parts.pki import Root, server_context
from hil.sim import SimBench
from hil.virtual_time import run_virtual
from tests.agent.doctor_network_test import PASSWORD, csms, looked, settings

__all__ = ["settings"]

NEW = "new-password-by-the-csms"


def with_password(settings: Settings) -> Settings:
    first = replace(settings.csms[0], password=PASSWORD, lab_unsecured=False)
    return replace(settings, csms=(first,))


def after_a_day(directory: Path, root: Root) -> tuple[Settings, Kept]:
    """A station whose CSMS has installed a root and changed the password, then stopped; and what
    its console said before."""

    async def scene() -> tuple[Settings, Kept]:
        async with SimBench(evse_count=1, directory=str(directory), change=with_password) as bench:
            await bench.csms.wait_for("StatusNotification")
            order = {"certificateType": "CSMSRootCertificate", "certificate": root.pem}
            answer = await bench.csms.call("InstallCertificate", order)
            assert answer == {"status": "Accepted"}
            item = {
                "component": {"name": "SecurityCtrlr"},
                "variable": {"name": "BasicAuthPassword"},
                "attributeValue": NEW,
            }
            await bench.csms.call("SetVariables", {"setVariableData": [item]})
            await asyncio.sleep(60)
            said = json.dumps(told(bench.agent.view))
            assert NEW not in said
            return bench.settings, msgspec.convert(json.loads(said), Kept)

    return run_virtual(scene())


def test_a_root_that_the_csms_installed_is_trusted_with_and_without_the_service(
    tmp_path: Path, settings: Settings
) -> None:
    root = Root("installed by the CSMS")
    (tmp_path / "data").mkdir()
    own, by_service = after_a_day(tmp_path / "data", root)
    by_disk, in_the_way = kept(own)
    assert in_the_way is None
    assert by_service.roots == by_disk.roots == (root.pem,)
    assert by_service.passwords == by_disk.passwords == (0,)
    assert by_disk.password(0, PASSWORD) == NEW
    assert NEW not in repr(by_disk)
    other = tmp_path / "other.pem"
    other.write_text(Root("of the file, edited since").pem)

    async def looks() -> dict[str, list[str]]:
        context = server_context(tmp_path, root.server("localhost"))
        async with csms(ssl=context) as (port, _):
            url = f"wss://localhost:{port}/ocpp"
            security = Security(ca_file=str(other))
            return {
                name: [
                    finding.level
                    for finding in await looked(settings, url, kept=known, security=security)
                ]
                for name, known in (("file", UNKNOWN), ("service", by_service), ("disk", by_disk))
            }

    found = asyncio.run(looks())
    assert found == {
        "file": ["ok", "ok", "bad"],
        "service": ["ok", "ok", "ok", "warn"],
        "disk": ["ok", "ok", "ok", "ok"],
    }


async def test_a_changed_password_that_only_the_service_knows_is_not_tried(
    settings: Settings,
) -> None:
    async with csms(401) as (port, _):
        url = f"ws://127.0.0.1:{port}/ocpp"
        last = (await looked(settings, url, kept=Kept(passwords=(0,))))[-1]
        other = (await looked(settings, url, kept=Kept(passwords=(1,))))[-1]
    assert last.level == "warn"
    assert "journalctl" in last.next_step
    assert other.level == "bad", "that of another back end"


async def test_the_password_on_the_disk_is_shown_to_the_csms(settings: Settings) -> None:
    saved = {save.key: str(save.value) for save in [Passwords({}).changed(0, 0, NEW)]}
    seen: list[str] = []

    def note(connection: Any, request: Any) -> None:
        seen.append(request.headers["Authorization"])

    async with csms(process_request=note) as (port, _):
        url = f"ws://127.0.0.1:{port}/ocpp"
        for known in (of_state(saved), UNKNOWN):
            assert (await looked(settings, url, kept=known))[-1].level == "ok"
    assert len(set(seen)) == 2


async def test_a_password_is_not_shown_with_less_security_than_was_reached(
    settings: Settings,
) -> None:
    """A05.FR.06, for doctor, too: nobody on the way shall read it."""
    seen: list[str] = []

    def note(connection: Any, request: Any) -> None:
        seen.append(request.headers["Authorization"])

    async with csms(process_request=note) as (port, _):
        reached = of_state({"meta/security_profile": "2"})
        last = (await looked(settings, f"ws://127.0.0.1:{port}/ocpp", kept=reached))[-1]
    assert "security profile 2" in last.what
    assert "wss://" in last.next_step
    assert seen == []


def test_a_file_counts_until_its_content_was_taken_over(tmp_path: Path, settings: Settings) -> None:
    file, csms_root = Root("file"), Root("csms")
    (tmp_path / "ca.pem").write_text(file.pem)
    own = replace(settings, security=Security(ca_file=str(tmp_path / "ca.pem")))
    installed = {s.key: str(s.value) for s in first_saves(facts_of(csms_root.pem), CSMS, {})}
    taken = {
        save.key: str(save.value)
        for save in certificates_of_file(own.security, installed, facts_of)
        if save.key == TAKEN_KEY
    }
    roots = [
        trust_of(own, known, shows_itself=False).roots
        for known in (
            UNKNOWN,
            of_state(installed),
            of_state(installed | taken),
            Kept(roots=(csms_root.pem,)),
        )
    ]
    assert roots == [(file.pem,), (csms_root.pem, file.pem), (csms_root.pem,), (csms_root.pem,)]


def test_the_stations_own_certificate_is_shown_where_the_profile_says_so(
    settings: Settings,
) -> None:
    known = Kept(chain="CHAIN", key="own.pem", wildcards=True)
    shown = trust_of(settings, known, shows_itself=True)
    assert shown.chain == "CHAIN"
    assert shown.key_file == f"{settings.data_directory}/keys/own.pem"
    assert shown.takes_wildcards
    assert trust_of(settings, known, shows_itself=False).chain == ""


def test_what_cannot_be_known_is_told_with_the_next_step(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(settings, data_directory=str(tmp_path))
    assert kept(own) == (UNKNOWN, None), "never started: there is nothing"
    (tmp_path / "chargepoint.db").write_text("no database")
    known, finding = kept(own)
    assert known is UNKNOWN
    assert finding is not None
    assert (finding.level, bool(finding.next_step)) == ("warn", True)

    def refuse(*_: object) -> dict[str, Any]:
        raise ConsoleError("this user may not use it; use sudo")

    monkeypatch.setattr(doctor_kept, "ask", refuse)
    known, finding = kept(own)
    assert known is UNKNOWN
    assert finding is not None
    assert "this user may not use it" in finding.what
    monkeypatch.setattr(doctor_kept, "ask", lambda *_: {"roots": 1})
    known, finding = kept(own)
    assert (known is UNKNOWN, finding is not None) == (True, True)
