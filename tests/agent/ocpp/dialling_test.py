"""When and where the connection dials: back-off (OCPP-J 5.3) and slots (B10)."""

from itertools import pairwise

import pytest

from agent.ocpp.connection import Slot
from tests.agent.ocpp.connection_bench import SLOTS, Driver

# --- back-off (OCPP-J 5.3) ------------------------------------------------------------------------


def waits_between_failing_dials(driver: Driver, count: int) -> list[float]:
    """Loop times from the end of an attempt, which fails at once, to the next."""
    waits = []
    for _ in range(count):
        ended_s = driver.mono_s
        driver.close()
        while driver.connection.link == "down":
            driver.mono_s = driver.connection.deadline(driver.now) or 0.0
            driver.take(driver.connection.tick(driver.now))
        waits.append(driver.mono_s - ended_s)
    return waits


def test_after_a_lost_link_the_wait_is_the_minimum_then_doubles_repeat_times() -> None:
    driver = Driver()
    driver.online()
    assert waits_between_failing_dials(driver, 6) == [5, 10, 20, 40, 40, 40]


def test_a_first_connection_that_fails_waits_the_same() -> None:
    driver = Driver()
    driver.run(0)
    assert driver.dials == [(0, 0)]
    assert waits_between_failing_dials(driver, 5) == [5, 10, 20, 40, 40]


def test_each_increase_gets_a_new_random_part_and_the_last_wait_stays() -> None:
    driver = Driver(RetryBackOffRandomRange="8", RetryBackOffRepeatTimes="2")
    driver.online()
    assert waits_between_failing_dials(driver, 5) == [9, 22, 48, 48, 48]


def test_the_back_off_begins_anew_after_a_success() -> None:
    driver = Driver()
    driver.online()
    waits_between_failing_dials(driver, 4)
    driver.take(driver.connection.opened(driver.now))
    assert waits_between_failing_dials(driver, 2) == [5, 10]


@pytest.mark.parametrize(("minimum", "least_s"), [("0", 1), ("1", 1), ("7", 7)])
def test_who_accepts_and_closes_at_once_is_never_dialled_sooner(
    minimum: str, least_s: float
) -> None:
    driver = Driver(RetryBackOffWaitMinimum=minimum, random=0.0)
    for _ in range(20):
        driver.dial_and_open()
        driver.close()
    times = [at_s for at_s, _ in driver.dials]
    assert min(b - a for a, b in pairwise(times)) >= least_s


# --- slots (B10) ----------------------------------------------------------------------------------


def dialled_slots(driver: Driver, count: int) -> list[int]:
    waits_between_failing_dials(driver, count)
    return [slot for _, slot in driver.dials[-count:]]


def test_each_slot_gets_its_attempts_then_the_next_and_around() -> None:
    driver = Driver(SLOTS, NetworkProfileConnectionAttempts="2")
    driver.run(0)
    assert [0, *dialled_slots(driver, 7)] == [0, 0, 1, 1, 0, 0, 1, 1]


def test_when_all_failed_the_slot_that_worked_last_comes_first() -> None:
    driver = Driver((*SLOTS, Slot("ws://c", "CP", 1)), NetworkProfileConnectionAttempts="1")
    driver.run(0)
    assert dialled_slots(driver, 1) == [1]
    driver.dial_and_open()
    driver.connection.heard(driver.now)
    assert dialled_slots(driver, 6) == [1, 0, 2, 1, 0, 2]


def test_who_accepts_but_never_says_anything_counts_as_failed() -> None:
    driver = Driver(SLOTS, NetworkProfileConnectionAttempts="2")
    for _ in range(2):
        driver.dial_and_open()
        driver.close()
    driver.dial_and_open()
    assert driver.dials[-1][1] == 1


def test_a_lost_link_to_a_living_csms_is_dialled_in_its_slot_again() -> None:
    driver = Driver(SLOTS, NetworkProfileConnectionAttempts="1")
    driver.online()
    for _ in range(5):
        driver.close()
        driver.dial_and_open()
        driver.connection.heard(driver.now)
    assert {slot for _, slot in driver.dials} == {0}
    assert driver.actions().count("BootNotification") == 1


def test_another_slot_is_booted_and_so_is_the_way_back() -> None:
    driver = Driver(SLOTS, NetworkProfileConnectionAttempts="1")
    driver.online()
    dialled_slots(driver, 2)  # slot 0 fails, slot 1 is dialled
    assert driver.dials[-1][1] == 1
    driver.take(driver.connection.opened(driver.now))
    assert driver.actions()[-1] == "BootNotification"
    assert not driver.connection.online
    driver.boot()
    assert driver.connection.online
    assert driver.connection.freshly_booted
    dialled_slots(driver, 2)
    assert driver.dials[-1][1] == 0
    driver.take(driver.connection.opened(driver.now))
    assert driver.actions().count("BootNotification") == 3
