"""Meters that sign when asked: what the core waits for, and for how long."""

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, Now
from agent.core.metering import SIGN_WAIT_S, Metering
from agent.core.transaction import Transaction
from drivers.contract import MeterReading, Payer, Permit, SignedData, Signing

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
    assert metering.ask(1.0 + SIGN_WAIT_S, signing=Signing.END)


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
    assert asked == [ef.ReadMeter(1, Signing.BEGIN, Payer("CARD", "ISO14443"))]
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


# --- the end --------------------------------------------------------------------------------------


def charging_signed(play):
    """A charge that was begun with a signature, by a meter that answers only when the test does."""
    p = play(sampled_signed=True)
    p.meter_answers = False
    p.meter(signing=Signing.LATER)
    p.pilot("B")
    p.swipe()
    p.now_s += 1
    p.meter(signing=Signing.BEGIN, signature=SIGNED)
    p.pilot("C")
    p.pilot("C", closed=True)
    seconds(p, 5)
    return p


def seconds(p, count: int) -> list[object]:
    """A reading each second, as a driver reports, none of them signed."""
    found: list[object] = []
    for _ in range(count):
        p.wait(1)
        found += p.meter(signing=Signing.LATER)
    return found


def asked(effects: list[object]) -> list[Signing]:
    return [effect.signing for effect in effects if isinstance(effect, ef.ReadMeter)]


def told_unsigned(p) -> list[str]:
    logs = [effect.text for effect in p.effects if isinstance(effect, ef.Log)]
    return [text for text in logs if "not signed" in text]


END_CASES = {
    "signed at once": (1, Signing.END, SIGNED, 1, True),
    "signed late": (int(SIGN_WAIT_S) - 2, Signing.END, SIGNED, int(SIGN_WAIT_S) - 2, True),
    "told that there is none": (2, Signing.END, None, 2, False),
    "never answered": (None, Signing.END, None, int(SIGN_WAIT_S), False),
    "answered as a value": (1, Signing.VALUE, SIGNED, int(SIGN_WAIT_S), False),
    "answered as a begin": (1, Signing.BEGIN, SIGNED, int(SIGN_WAIT_S), False),
}
"""(answered after s, as the answer to, with, ended after s, is signed)"""


@pytest.mark.parametrize("case", END_CASES)
def test_an_end_waits_for_its_own_signature_and_not_for_ever(play, case: str) -> None:
    answered_s, answers, signature, ended_s, is_signed = END_CASES[case]
    p = charging_signed(play)
    p.swipe()
    assert p.told()[-1].event_type != "Ended"
    effects = p.pilot("C", closed=False)
    assert asked(effects) == [Signing.END], "once the path is open"
    for second in range(1, int(SIGN_WAIT_S) + 2):
        effects = seconds(p, 1)
        assert Signing.END not in asked(effects)
        if second == answered_s:
            p.meter(signing=answers, signature=signature)
        has_ended = p.told()[-1].event_type == "Ended"
        assert has_ended == (second >= ended_s), second
    last = p.told()[-1].samples[-1]
    assert last.context == "Transaction.End"
    assert last.reading.signature == (SIGNED if is_signed else None)
    assert len(told_unsigned(p)) == (0 if is_signed else 1)


def test_no_signature_is_asked_for_before_the_path_is_open(play) -> None:
    p = charging_signed(play)
    p.swipe()
    effects = seconds(p, 3)
    assert Signing.END not in asked(effects)


def test_an_end_without_any_reading_has_the_last_stored_value(play) -> None:
    p = charging_signed(play)
    begin_wh = p.told()[0].samples[0].reading.energy_wh
    p.swipe()
    p.pilot("C", closed=False)
    p.wait(SIGN_WAIT_S + 1)
    last = p.told()[-1]
    assert last.event_type == "Ended"
    assert last.samples[-1].reading.energy_wh == begin_wh
    assert last.samples[-1].reading.signature == SIGNED, "its own, of then"
    logs = [effect.text for effect in p.effects if isinstance(effect, ef.Log)]
    assert any("last stored reading" in text for text in logs)
    assert not told_unsigned(p)


def test_where_no_signature_is_wanted_none_is_asked_for_and_none_is_missed(play) -> None:
    p = play()
    p.charging()
    p.meter(signing=Signing.LATER)
    p.swipe()
    p.pilot("C", closed=False)
    p.wait(30)
    assert p.told()[-1].event_type == "Ended"
    assert set(asked(p.effects)) == {Signing.NONE}
    assert not told_unsigned(p)


def test_a_value_waits_while_a_session_is_to_begin_or_end() -> None:
    metering = Metering()
    metering.take(reading(1))
    assert metering.ask(1.0, signing=Signing.VALUE)
    assert metering.ask(2.0, signing=Signing.BEGIN)
    assert not metering.ask(3.0, signing=Signing.VALUE)
    assert not metering.ask(3.0), "a plain one comes by itself, or with the answer"
    assert not metering.ask(4.0, signing=Signing.BEGIN), "asked once"
    assert metering.ask(5.0, signing=Signing.END), "it ended before it began"
    metering.take(reading(6.0, Signing.END))
    assert metering.ask(6.0, signing=Signing.VALUE)


# --- who pays -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "payer"),
    [
        ("ISO14443", Payer("04A1B2C3", "ISO14443")),
        ("Central", Payer("04A1B2C3", "Central")),
        ("KeyCode", None),
        ("NoAuthorization", None),
    ],
)
def test_the_meter_is_told_who_pays_at_both_ends_but_no_code(
    play, kind: str, payer: Payer | None
) -> None:
    p = play(sampled_signed=True)
    p.meter_answers = False
    p.meter(signing=Signing.LATER)
    p.pilot("B")
    effects = p.do(ev.TokenPresented(IdToken("04A1B2C3", kind), (1,)))
    assert ef.ReadMeter(1, Signing.BEGIN, payer) in effects
    p.now_s += 1
    p.meter(signing=Signing.BEGIN, signature=SIGNED)
    p.pilot("C")
    p.pilot("C", closed=True)
    p.do(ev.TokenPresented(IdToken("04A1B2C3", kind), (1,)))
    p.pilot("C", closed=False)
    asked_for = [e for e in p.effects if isinstance(e, ef.ReadMeter)]
    assert asked_for[-1] == ef.ReadMeter(1, Signing.END, payer)


def test_no_card_stands_in_a_log_line_of_a_payer() -> None:
    assert "04A1B2C3" not in repr(ef.ReadMeter(1, Signing.BEGIN, Payer("04A1B2C3", "ISO14443")))


# --- values that the CSMS asks for ----------------------------------------------------------------


def metered(p) -> list[ef.MeterSample]:
    return [effect.sample for effect in p.effects if isinstance(effect, ef.Metered)]


def test_values_of_a_meter_that_fell_silent_are_told_as_they_were(play) -> None:
    p = play(aligned_signed=True)
    p.meter_answers = False
    p.meter(signing=Signing.LATER)
    last = p.evse.metering.last
    effects = p.do(ev.MessageTriggered("MeterValues", 1, 0, True))
    assert asked(effects) == [Signing.VALUE]
    p.wait(SIGN_WAIT_S - 1)
    assert not metered(p)
    p.wait(2)
    assert metered(p) == [ef.MeterSample("Trigger", last)]
    p.wait(60)
    assert len(metered(p)) == 1


@pytest.mark.parametrize(
    ("event", "is_asked"),
    [
        (ev.MessageTriggered("MeterValues", 1, 0, True), True),
        (ev.MessageTriggered("MeterValues"), True),
        (ev.MessageTriggered("MeterValues", 0, 0, True), False),
        (ev.MessageTriggered("MeterValues", 2, 0, True), False),
        (ev.MessageTriggered("StatusNotification", 1, 0, True), False),
    ],
)
def test_only_the_meters_that_are_meant_are_asked_to_sign(play, event, is_asked: bool) -> None:
    p = play(aligned_signed=True)
    p.meter_answers = False
    p.meter(signing=Signing.LATER)
    assert asked(p.do(event)) == ([Signing.VALUE] if is_asked else [])


def test_an_event_that_is_asked_for_waits_for_its_signature_but_not_beyond_the_end(
    play,
) -> None:
    p = charging_signed(play)
    event = ev.MessageTriggered("TransactionEvent", 1, 0, True)
    assert asked(p.do(event)) == [Signing.VALUE]
    assert asked(p.do(event)) == [], "asked already"
    p.now_s += 1
    p.meter(signing=Signing.VALUE, signature=SIGNED)
    told = [record for record in p.told() if record.trigger_reason == "Trigger"]
    assert [record.samples[0].reading.signature for record in told] == [SIGNED]
    p.now_s += 1
    assert asked(p.do(event)) == [Signing.VALUE]
    p.swipe()
    p.meter(signing=Signing.VALUE, signature=SIGNED)
    p.pilot("C", closed=False)
    p.meter(signing=Signing.END, signature=SIGNED)
    p.wait(30)
    assert p.told()[-1].event_type == "Ended"
    assert len([record for record in p.told() if record.trigger_reason == "Trigger"]) == 1


def test_values_wait_while_a_session_begins(play) -> None:
    p = play(aligned_signed=True, sampled_signed=True)
    p.meter_answers = False
    p.meter(signing=Signing.LATER)
    p.pilot("B")
    p.swipe()
    assert asked(p.do(ev.MessageTriggered("MeterValues"))) == []
    p.now_s += 1
    effects = p.meter(signing=Signing.BEGIN, signature=SIGNED)
    assert asked(effects) == [Signing.VALUE], "and then it is their turn"
    p.meter(signing=Signing.VALUE, signature=SIGNED)
    assert [sample.reading.signature for sample in metered(p)] == [SIGNED]


def test_a_signed_value_that_comes_late_takes_back_nothing_that_was_told() -> None:
    """After a power cut the Ended is made of the last value: no less than the CSMS was told."""
    now = Now(50.0, 0.0, True, "boot", Permit(0), lambda: 0.5, lambda: "id")
    transaction = Transaction("tx", 1, "boot", 0.0)
    for at_s, signing in ((10.0, Signing.LATER), (12.0, Signing.LATER), (11.0, Signing.VALUE)):
        sample = ef.MeterSample("Sample.Periodic", reading(at_s, signing))
        transaction.record("Updated", "MeterValuePeriodic", now, samples=(sample,))
    assert transaction.last == reading(12.0, Signing.LATER)
    transaction.keep(ef.MeterSample("Sample.Clock", reading(11.5, Signing.VALUE)))
    assert transaction.last == reading(12.0, Signing.LATER)
