"""The firmware's version comes from the image that runs; an update changes it without an edit."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent.file_facts import facts_of_station, firmware_version, version_in
from agent.settings import Security, Settings, Station
from hil.conformance import Octt, firmware
from hil.sim import SimBench
from hil.virtual_time import run_virtual

RELEASE = 'NAME="Board OS"\nVERSION_ID=12\nIMAGE_VERSION="2.1.0"\n'


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (RELEASE, "2.1.0"),
        (RELEASE.replace("IMAGE_", "X_"), "12"),
        ("\n  v3-rc1 \nmore\n", "v3-rc1"),
        ("x" * 60, "x" * 50),
        ("a\x1b[2Jb", "a[2Jb"),
        ("", ""),
    ],
)
def test_the_version_that_a_file_names(text: str, version: str) -> None:
    assert version_in(text) == version


@pytest.mark.parametrize("content", [None, "\n"])
def test_a_file_that_names_none_is_said_and_the_setting_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    path = tmp_path / "version"
    if content is not None:
        path.write_text(content)
    station = Station("CP", "Maker", "Box", "", "1.0", str(path))
    with caplog.at_level(logging.WARNING):
        assert firmware_version(station) == "1.0"
    assert f"{path}" in caplog.text
    assert "have the image write its version there" in caplog.text


def test_the_csms_hears_the_version_of_the_new_image(tmp_path: Path) -> None:
    """BootNotification and the variable FirmwareVersion, before and after an update."""
    path = tmp_path / "os-release"

    def with_file(settings: Settings) -> Settings:
        return replace(settings, station=replace(settings.station, firmware_version_file=str(path)))

    async def versions(octt: Octt) -> tuple[Any, Any]:
        boot = await octt.expect("BootNotification")
        found = await octt.get_variable("ChargingStation", "FirmwareVersion")
        return boot["chargingStation"].get("firmwareVersion"), found["attributeValue"]

    async def play() -> None:
        path.write_text("IMAGE_VERSION=1.0\n")
        async with SimBench(change=with_file) as bench:
            octt = Octt(bench)
            assert await versions(octt) == ("1.0", "1.0")
            update = {"requestId": 1, "firmware": await firmware(octt)}
            await octt.accepted("UpdateFirmware", update)
            await bench.until(lambda: not bench.is_running)
            path.write_text("IMAGE_VERSION=2.0\n")
            bench.forget_agent()
            octt.csms.forget()
            await bench.start()
            assert await versions(octt) == ("2.0", "2.0")
            bench.csms.check()

    run_virtual(play())


def test_sftp_is_told_where_servers_are_named_and_its_package_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = SimBench().settings
    named = replace(settings, security=Security(known_hosts_file="/etc/known_hosts"))
    assert not facts_of_station(settings).has_sftp
    assert facts_of_station(named).has_sftp
    monkeypatch.setitem(sys.modules, "paramiko", None)
    assert not facts_of_station(named).has_sftp
