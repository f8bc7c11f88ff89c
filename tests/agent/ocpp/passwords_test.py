"""Which password is tried when, and what is remembered of it."""

from collections.abc import Callable

import pytest

from agent.core.effects import Log, Save
from agent.ocpp.passwords import KEY, PATIENCE, Passwords

FILE = "password-of-the-file"
FIRST, SECOND, THIRD = "first-password-x", "second-password-x", "third-password-x"


def proved(passwords: Passwords, credential: int = 0) -> list[object]:
    passwords.show(0, credential, FILE)
    return passwords.heard()


def dialled(
    passwords: Passwords, count: int, is_refused: Callable[[str], bool], slot: int = 0
) -> list[str]:
    """What is shown in so many dials in vain."""
    shown = []
    for _ in range(count):
        password = passwords.show(slot, 0, FILE)
        assert password is not None
        passwords.closed(is_refused=is_refused(password))
        shown.append(password)
    return shown


def three() -> Passwords:
    """The second is new, the first has worked."""
    passwords = Passwords({})
    passwords.changed(0, 0, FIRST)
    proved(passwords)
    passwords.changed(0, 0, SECOND)
    return passwords


def test_without_a_word_of_the_csms_the_file_counts() -> None:
    assert Passwords({}).candidates(0, FILE) == (FILE,)
    assert Passwords({}).candidates(0, None) == (None,)


def test_the_newest_comes_first_and_the_one_that_worked_stays_until_it_is_proved() -> None:
    passwords = Passwords({})
    passwords.changed(0, 0, FIRST)
    assert passwords.candidates(0, FILE) == (FIRST, FILE)
    assert proved(passwords)
    passwords.changed(0, 0, SECOND)
    assert passwords.candidates(0, FILE) == (SECOND, FIRST, FILE)
    passwords.changed(0, 0, THIRD)
    assert passwords.candidates(0, FILE) == (THIRD, SECOND, FIRST, FILE), "it may know no later one"
    assert proved(passwords)
    assert passwords.candidates(0, FILE) == (THIRD, FILE)
    assert not proved(passwords), "told once"


def test_whatever_a_csms_sets_the_one_that_worked_stays() -> None:
    passwords = three()
    for number in range(20):
        passwords.changed(0, 0, f"password-{number:02}-of-many")
    known = passwords.candidates(0, FILE)
    assert known[0] == "password-19-of-many"
    assert known[-2:] == (FIRST, FILE)
    assert len(known) < 10


def test_what_is_heard_on_another_link_proves_nothing() -> None:
    passwords = Passwords({})
    passwords.changed(0, 0, FIRST)
    proved(passwords)
    passwords.show(0, 0, FILE)
    passwords.changed(0, 0, SECOND)
    assert not passwords.heard(), "the link from before the change"
    assert passwords.candidates(0, FILE) == (SECOND, FIRST, FILE)


def test_a_refusal_brings_the_next_one_at_once_and_round_and_round() -> None:
    assert dialled(three(), 7, lambda password: True) == [SECOND, FIRST, FILE] * 2 + [SECOND]


def test_a_csms_that_is_down_says_nothing_of_the_password() -> None:
    """After some dials another one is tried, once: not every CSMS refuses by 401."""
    shown = dialled(three(), 3 * (PATIENCE + 1), lambda password: False)
    newest = [SECOND] * PATIENCE
    assert shown == [*newest, FIRST, *newest, FILE, *newest, SECOND]


def test_a_trial_that_is_refused_shows_that_the_csms_is_back() -> None:
    passwords = three()
    dialled(passwords, PATIENCE, lambda password: False)
    assert dialled(passwords, 2, lambda password: password != SECOND) == [FIRST, SECOND]


def test_the_one_that_works_is_shown_until_it_is_refused() -> None:
    passwords = three()
    dialled(passwords, 1, lambda password: True)
    assert passwords.show(0, 0, FILE) == FIRST
    (told,) = passwords.heard()
    assert isinstance(told, Log)
    assert passwords.heard() == []
    passwords.closed(is_refused=False)
    assert passwords.candidates(0, FILE) == (SECOND, FIRST, FILE), "the newest is not given up"
    assert dialled(passwords, 3, lambda password: True) == [FIRST, FILE, SECOND]


@pytest.mark.parametrize("good", [SECOND, FIRST, FILE])
@pytest.mark.parametrize("silent", [(), (SECOND,), (FIRST,), (FILE,), (SECOND, FIRST, FILE)])
def test_the_station_never_locks_itself_out(good: str, silent: tuple[str, ...]) -> None:
    """Whatever a CSMS says to wrong passwords, and another one in the slot beside it."""
    passwords = three()
    for _ in range(4 * (PATIENCE + 1)):
        passwords.show(1, 0, FILE)
        passwords.closed(is_refused=True)
        if passwords.show(0, 0, FILE) == good:
            return
        passwords.closed(is_refused=good not in silent)
    raise AssertionError("the CSMS was never shown the password that it takes")


def test_another_back_end_that_refuses_all_takes_nobodys_turn() -> None:
    passwords = Passwords({})
    passwords.changed(0, 0, FIRST)
    shown = set()
    for _ in range(4):
        dialled(passwords, 1, lambda password: True, slot=1)
        shown |= set(dialled(passwords, 1, lambda password: True))
    assert shown == {FIRST, FILE}


def test_the_one_in_use_may_be_set_again_and_again() -> None:
    passwords = three()
    assert passwords.changed(0, 0, SECOND) is None, "its link is still to come"
    proved(passwords)
    assert passwords.changed(0, 0, SECOND) is None


def test_one_that_was_refused_and_is_set_again_is_shown_next() -> None:
    passwords = three()
    dialled(passwords, 1, lambda password: True)
    passwords.show(0, 0, FILE)
    passwords.heard()
    assert passwords.changed(0, 0, SECOND) is not None
    assert passwords.candidates(0, FILE) == (SECOND, FIRST, FILE)
    assert passwords.show(0, 0, FILE) == SECOND


def test_a_link_that_ends_after_the_csms_spoke_says_nothing_of_the_password() -> None:
    passwords = three()
    for _ in range(3 * PATIENCE):
        assert passwords.show(0, 0, FILE) == SECOND
        passwords.heard()
        passwords.closed(is_refused=False)


def test_each_back_end_has_its_own() -> None:
    passwords = Passwords({})
    passwords.changed(0, 1, FIRST)
    assert passwords.candidates(0, FILE) == (FILE,)
    assert passwords.candidates(1, None) == (FIRST,)


def test_all_is_kept_over_a_restart_and_damage_leaves_the_file() -> None:
    passwords = Passwords({})
    passwords.changed(0, 0, FIRST)
    proved(passwords)
    saved = passwords.changed(0, 0, SECOND)
    assert isinstance(saved, Save)
    assert saved.value is not None
    again = Passwords({saved.key: saved.value})
    assert again.candidates(0, FILE) == (SECOND, FIRST, FILE)
    assert Passwords({KEY: "{]"}).candidates(0, FILE) == (FILE,)


def test_no_password_shows_in_a_representation() -> None:
    passwords = Passwords({})
    passwords.changed(0, 0, FIRST)
    assert FIRST not in repr(passwords._by_credential)
