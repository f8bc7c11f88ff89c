"""Which password is tried when, and what is remembered of it."""

from agent.core.effects import Save
from agent.ocpp.passwords import KEY, Passwords

FILE = "password-of-the-file"
FIRST, SECOND, THIRD = "first-password-x", "second-password-x", "third-password-x"


def proved(passwords: Passwords, credential: int = 0) -> list[object]:
    passwords.opened(0)
    return passwords.heard(credential)


def test_without_a_word_of_the_csms_the_file_counts() -> None:
    assert Passwords({}).candidates(0, FILE) == (FILE,)
    assert Passwords({}).candidates(0, None) == (None,)


def test_the_newest_comes_first_and_the_one_that_worked_stays_until_it_is_proved() -> None:
    passwords = Passwords({})
    passwords.changed(0, FIRST)
    assert passwords.candidates(0, FILE) == (FIRST, FILE)
    assert proved(passwords)
    passwords.changed(0, SECOND)
    assert passwords.candidates(0, FILE) == (SECOND, FIRST, FILE)
    passwords.changed(0, THIRD)
    assert passwords.candidates(0, FILE) == (THIRD, FIRST, FILE)
    assert proved(passwords)
    assert passwords.candidates(0, FILE) == (THIRD, FILE)
    assert not proved(passwords), "told once"


def test_what_is_heard_on_another_link_proves_nothing() -> None:
    passwords = Passwords({})
    passwords.changed(0, FIRST)
    proved(passwords)
    passwords.changed(0, SECOND)
    assert not passwords.heard(0), "the link from before the change"
    passwords.opened(1)
    assert not passwords.heard(0), "opened with the one before"
    assert passwords.candidates(0, FILE) == (SECOND, FIRST, FILE)


def test_each_back_end_has_its_own() -> None:
    passwords = Passwords({})
    passwords.changed(1, FIRST)
    assert passwords.candidates(0, FILE) == (FILE,)
    assert passwords.candidates(1, None) == (FIRST,)


def test_all_is_kept_over_a_restart_and_damage_leaves_the_file() -> None:
    passwords = Passwords({})
    passwords.changed(0, FIRST)
    proved(passwords)
    saved = passwords.changed(0, SECOND)
    assert isinstance(saved, Save)
    assert saved.value is not None
    again = Passwords({saved.key: saved.value})
    assert again.candidates(0, FILE) == (SECOND, FIRST, FILE)
    assert Passwords({KEY: "{]"}).candidates(0, FILE) == (FILE,)


def test_no_password_shows_in_a_representation() -> None:
    passwords = Passwords({})
    passwords.changed(0, FIRST)
    assert FIRST not in repr(passwords._by_credential)
