"""Whose turn it is among CALLs that wait: drivers, then rows and reports in turns."""

from agent.ocpp.calls import OutgoingCall, Stream
from agent.ocpp.turns import MOST_CALLS, MOST_REPORTS, REPORTS, Queued, Turns


def call(action: str) -> OutgoingCall:
    return OutgoingCall(action, {})


def stream(number: int = 0) -> Stream:
    return Stream(number, lambda cursor: ("NotifyReport", {}, None))


def with_calls(*waiting: tuple[str, int]) -> Turns:
    turns = Turns()
    for action, priority in waiting:
        turns.add(call(action), priority, precedes_boot=False)
    return turns


def action_of(queued: Queued | None) -> str | None:
    if queued is None:
        return None
    return queued.item.action if isinstance(queued.item, OutgoingCall) else "report"


def test_who_waits_most_urgently_leaves_first_and_equals_in_their_order() -> None:
    turns = with_calls(("Second", 4), ("Third", 4), ("First", 1))
    taken = [action_of(turns.urgent()) for _ in range(4)]
    assert taken == ["First", "Second", "Third", None]


def test_reports_and_rows_take_turns_and_a_report_alone_goes_on() -> None:
    turns = Turns()
    for number in range(3):
        turns.add(stream(number), REPORTS, precedes_boot=False)
    assert turns.has_report
    assert turns.urgent() is None
    assert turns.report(row_waits=True) is not None
    assert turns.report(row_waits=True) is None
    turns.row_goes()
    assert turns.report(row_waits=True) is not None
    assert turns.report(row_waits=False) is not None
    assert turns.report(row_waits=False) is None


def test_what_is_urgent_goes_before_a_report() -> None:
    turns = with_calls(("StatusNotification", 4))
    turns.add(stream(), REPORTS, precedes_boot=False)
    assert not turns.has_report
    assert turns.report(row_waits=False) is None
    assert action_of(turns.urgent()) == "StatusNotification"
    assert action_of(turns.report(row_waits=False)) == "report"


def test_before_the_boot_is_accepted_only_what_the_csms_asked_for_leaves() -> None:
    turns = with_calls(("StatusNotification", 1), ("Heartbeat", 5))
    turns.add(stream(), REPORTS, precedes_boot=True)
    turns.add(call("FirmwareStatusNotification"), 5, precedes_boot=True)
    taken = [action_of(turns.before_boot()) for _ in range(3)]
    assert taken == ["FirmwareStatusNotification", "report", None]
    assert action_of(turns.urgent()) == "StatusNotification"


def test_room_is_bounded_for_reports_and_for_all() -> None:
    turns = Turns()
    for number in range(MOST_REPORTS):
        assert turns.takes_report
        turns.add(stream(number), REPORTS, precedes_boot=False)
    assert not turns.takes_report
    for _ in range(MOST_CALLS - MOST_REPORTS):
        assert not turns.is_crowded
        turns.add(call("Heartbeat"), 5, precedes_boot=False)
    assert turns.is_crowded
    turns.urgent()
    assert not turns.is_crowded


def test_with_the_link_everything_is_given_up_and_the_calls_named_in_their_order() -> None:
    turns = with_calls(("Later", 5), ("Sooner", 1), ("Last", 5))
    turns.add(stream(), REPORTS, precedes_boot=True)
    assert [item.action for item in turns.give_up()] == ["Sooner", "Later", "Last"]
    assert turns.takes_report
    assert turns.before_boot() is None
    assert turns.urgent() is None
