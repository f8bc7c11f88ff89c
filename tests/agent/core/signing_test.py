"""Meters that sign when asked: what the core waits for, and for how long."""

import pytest

from agent.core import effects as ef
from agent.core.metering import SIGN_WAIT_S, Metering
from drivers.contract import MeterReading, SignedData, Signing

SIGNED = SignedData("T0NNRg==", "ECDSA-secp256r1-SHA256", "OCMF")


def reading(at_s: float, signing: Signing = Signing.LATER) -> MeterReading:
    signature = None if signing is Signing.LATER else SIGNED
    return MeterReading(at_s=at_s, energy_wh=1000 + at_s, signing=signing, signature=signature)


def test_only_the_answer_to_a_question_answers_it() -> None:
    metering = Metering()
    metering.take(reading(1))
    assert metering.ask(1.0, signing=Signing.BEGIN)
    metering.take(reading(2))
    assert metering.fresh(2.0, signing=Signing.BEGIN) is None
    assert metering.fresh(2.0) == reading(2)
    metering.take(reading(1.5, Signing.BEGIN))
    assert metering.fresh(3.0, signing=Signing.BEGIN) == reading(1.5, Signing.BEGIN)
    assert metering.fresh(3.0, signing=Signing.END) is None
    assert metering.last == reading(2), "a signed value that comes late sets nothing back"
    assert metering.ask_again_s() is None


def test_a_question_for_a_signature_is_not_repeated_while_the_meter_may_be_at_it() -> None:
    metering = Metering()
    metering.take(reading(1))
    assert metering.ask(1.0, signing=Signing.END)
    metering.take(reading(2))
    assert not metering.ask(5.0, signing=Signing.END)
    assert metering.ask_again_s() == 1.0 + SIGN_WAIT_S
    assert metering.ask(5.0, signing=Signing.VALUE), "another question does not wait for it"
    assert metering.ask(5.0 + SIGN_WAIT_S, signing=Signing.VALUE)


@pytest.mark.parametrize("signature", [SIGNED, None])
def test_a_meter_that_signs_always_or_never_is_asked_as_before(
    signature: SignedData | None,
) -> None:
    metering = Metering()
    plain = MeterReading(at_s=2, energy_wh=1, signature=signature)
    metering.ask(1.0, signing=Signing.BEGIN)
    assert metering.ask_again_s() == 3.0
    metering.take(plain)
    assert metering.ask_again_s() is None
    assert metering.fresh(2.0, signing=Signing.BEGIN) == plain


def test_a_charge_whose_meter_is_replaced_ends_with_what_was_counted_before(play) -> None:
    p = play()
    p.charging()
    p.wait(1)
    p.energy_wh[1] = 250.0
    effects = p.meter()
    assert [e for e in effects if isinstance(e, ef.StopPower)]
    p.pilot("B")
    p.wait(60)
    last = p.told()[-1]
    assert (last.event_type, last.trigger_reason) == ("Ended", "AbnormalCondition")
    begin_wh = p.told()[0].samples[0].reading.energy_wh
    assert last.samples[-1].reading.energy_wh == begin_wh, "the last stored value"


def test_a_signed_charge_begins_and_ends_with_the_answers_of_its_meter(play) -> None:
    p = play(sampled_signed=True)
    p.meter_answers = False
    p.meter(signing=Signing.LATER)
    p.pilot("B")
    effects = p.swipe()
    asked = [e for e in effects if isinstance(e, ef.ReadMeter)]
    assert asked == [ef.ReadMeter(1, Signing.BEGIN)]
    p.now_s += 1
    p.meter(signing=Signing.LATER)
    assert not p.told(), "an unsigned reading does not begin a signed charge"
    p.meter(signing=Signing.BEGIN, signature=SIGNED)
    started = p.told()[-1]
    assert started.event_type == "Started"
    assert started.samples[0].reading.signature == SIGNED


def test_a_meter_that_never_signs_does_not_keep_a_driver_waiting_for_ever(play) -> None:
    p = play(sampled_signed=True)
    p.meter_answers = False
    p.meter(signing=Signing.LATER)
    p.pilot("B")
    p.swipe()
    for _ in range(int(SIGN_WAIT_S) - 1):
        p.now_s += 1
        p.meter(signing=Signing.LATER)
    assert not p.told()
    for _ in range(2):
        p.now_s += 1
        p.meter(signing=Signing.LATER)
    assert p.told()[-1].event_type == "Started"
