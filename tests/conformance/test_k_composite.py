"""Block K of Part 6: what follows from the profiles, as composite schedules (K01, K08)."""

from hil.cases import play
from hil.cases_k import (
    DEVIATION_S,
    STATION_MAX,
    TX,
    composite,
    install,
    limits,
    profile,
    stamp,
    units,
)
from hil.conformance import Octt

HARDWARE_A = 32.0
"""Most of one connector of the bench."""

# --- from when, until when ------------------------------------------------------------------------


@units
def test_TC_K_21_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        start = stamp(octt)
        sent = profile(kind="Relative", unit=unit, validFrom=stamp(octt, 300))
        await install(octt, octt.evse_id, sent)
        schedule = await composite(octt, octt.evse_id, 400, unit)
        assert list(limits(schedule, start, unit)) == [(0, HARDWARE_A), (300, 6.0)]

    play(scene)


@units
def test_TC_K_22_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        start = stamp(octt)
        window = {"validFrom": stamp(octt, -DEVIATION_S), "validTo": stamp(octt, 300)}
        await install(octt, 0, profile(start=start, unit=unit, **window))
        for evse_id in (0, 1, 2):
            schedule = await composite(octt, evse_id, 400, unit)
            first, second = limits(schedule, start, unit)
            assert first == (0, 6.0 if evse_id else 12.0)
            assert second[0] == 300
            assert second[1] > first[1]

    play(scene)


@units
def test_TC_K_23_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        now, start = stamp(octt), stamp(octt, 60)
        await install(octt, octt.evse_id, profile(start=start, unit=unit))
        schedule = await composite(octt, octt.evse_id, 300, unit)
        assert list(limits(schedule, now, unit)) == [(0, HARDWARE_A), (60, 6.0)]

    play(scene)


@units
def test_TC_K_28_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.set_variable("SmartChargingCtrlr", "LimitChangeSignificance", "1.0")
        await octt.energy_transfer_started()
        start = stamp(octt, -DEVIATION_S)
        sent = profile(start=start, duration=300 + 2 * DEVIATION_S, unit=unit)
        await install(octt, octt.evse_id, sent)
        schedule = await composite(octt, octt.evse_id, 300, unit)
        assert list(limits(schedule, start, unit)) == [(0, 6.0)]
        assert octt.bench.board.connector(octt.evse_id, octt.connector_id).offered_a == 6.0
        assert octt.transaction_id is not None
        await octt.expect_none("TransactionEvent")

    play(scene)


# --- merged ---------------------------------------------------------------------------------------


@units
def test_TC_K_39_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        schedule = await composite(octt, 0, 300, unit)
        assert len(schedule["chargingSchedulePeriod"]) == 1

    play(scene)


@units
def test_TC_K_40_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        start = stamp(octt, -DEVIATION_S)
        window = {
            "start": start,
            "validFrom": start,
            "validTo": stamp(octt, DEVIATION_S + 401),
            "unit": unit,
        }
        low = ((0, 6.0), (100, 8.0), (200, 10.0))
        high = ((0, 7.0), (100, 9.0))
        await install(octt, octt.evse_id, profile(1, *low, duration=400 + DEVIATION_S, **window))
        await install(
            octt, octt.evse_id, profile(2, *high, level=1, duration=150 + DEVIATION_S, **window)
        )
        schedule = await composite(octt, octt.evse_id, 350, unit)
        assert list(limits(schedule, start, unit)) == [
            (0, 7.0),
            (100, 9.0),
            (150 + DEVIATION_S, 8.0),
            (200, 10.0),
        ]

    play(scene)


@units
def test_TC_K_41_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.energy_transfer_started()
        start = stamp(octt, -DEVIATION_S)
        window = {"start": start, "unit": unit}
        of_station = profile(1, (0, 10.0), purpose=STATION_MAX, duration=86_400, **window)
        await install(octt, 0, of_station)
        window |= {"validFrom": start, "validTo": stamp(octt, DEVIATION_S + 401)}
        default = ((0, 6.0), (60, 10.0), (120, 8.0), (180, 15.0), (260, 8.0))
        await install(octt, octt.evse_id, profile(2, *default, duration=300, **window))
        own = ((0, 8.0), (50, 11.0), (140, 16.0), (200, 6.0), (240, 12.0))
        window |= {"purpose": TX, "transactionId": str(octt.transaction_id)}
        await install(octt, octt.evse_id, profile(3, *own, duration=260, **window))
        schedule = await composite(octt, octt.evse_id, 400, unit)
        assert list(limits(schedule, start, unit)) == [
            (0, 8.0),
            (50, 10.0),
            (200, 6.0),
            (240, 10.0),
            (260, 8.0),
            (300, 10.0),
        ]

    play(scene)


@units
def test_TC_K_47_CS(unit: str) -> None:
    async def scene(octt: Octt) -> None:
        unknown = len(octt.bench.settings.evses) + 1
        request = {"evseId": unknown, "duration": 300, "chargingRateUnit": unit}
        answer = await octt.call("GetCompositeSchedule", request)
        assert answer["status"] == "Rejected"
        assert "schedule" not in answer

    play(scene)
