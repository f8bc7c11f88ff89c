"""What the CSMS sets of certificates and the clock changes what the station does."""

import asyncio
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from hil.conformance import Octt
from hil.sim import SimBench
from hil.virtual_time import run_virtual

SIGN = {"requestedMessage": "SignChargingStationCertificate"}


@pytest.mark.parametrize("threshold_s", [20, 2000])
def test_a_clock_that_is_set_is_told_when_it_was_wrong_by_more_than_the_threshold(
    threshold_s: int,
) -> None:
    """ClockCtrlr.TimeAdjustmentReportingThreshold."""

    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            name = "TimeAdjustmentReportingThreshold"
            await octt.set_variable("ClockCtrlr", name, str(threshold_s))
            bench.csms.clock_error_s = 500.0
            await asyncio.sleep(700)
            told = [event["type"] for event in bench.csms.of("SecurityEventNotification")]
            assert ("SettingSystemTime" in told) is (threshold_s < 500)

    run_virtual(scene())


@pytest.mark.parametrize(("wait_s", "times"), [(40, 2), (100, 3)])
def test_a_certificate_that_does_not_come_is_asked_for_again(wait_s: int, times: int) -> None:
    """SecurityCtrlr.CertSigningWaitMinimum, doubled CertSigningRepeatTimes times (A02.FR.18)."""

    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("SecurityCtrlr", "CertSigningWaitMinimum", str(wait_s))
            await octt.set_variable("SecurityCtrlr", "CertSigningRepeatTimes", str(times))
            await octt.accepted("TriggerMessage", SIGN)
            await asyncio.sleep(20_000)
            asked = [call.at_s for call in bench.csms.calls if call.action == "SignCertificate"]
            waits = [later - earlier for earlier, later in pairwise(asked)]
            assert waits == pytest.approx([wait_s * 2.0**n for n in range(times + 1)], abs=2.0)

    run_virtual(scene())


def test_the_organization_stands_in_the_request_for_a_certificate() -> None:
    """SecurityCtrlr.OrganizationName."""

    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("SecurityCtrlr", "OrganizationName", "Grid of the North")
            await octt.accepted("TriggerMessage", SIGN)
            request = await octt.expect("SignCertificate")
            subject = x509.load_pem_x509_csr(request["csr"].encode()).subject
            (name,) = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
            assert name.value == "Grid of the North"

    run_virtual(scene())


def test_a_name_with_a_wildcard_is_taken_from_the_next_dial_on() -> None:
    """SecurityCtrlr.AllowCSMSTLSWildcards; what the link makes of it is tested with TLS."""

    async def scene() -> None:
        async with SimBench(endpoints=("wss://csms.invalid/ocpp",)) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.set_variable("SecurityCtrlr", "AllowCSMSTLSWildcards", "true")
            await octt.offline()
            await octt.online()
            first, *_, last = (credentials for _, _, credentials in bench.network.dials)
            assert not first.trust.takes_wildcards
            assert last.trust.takes_wildcards

    run_virtual(scene())
