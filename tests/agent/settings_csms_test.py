"""What must hold of the back ends in charger.yaml, and no password in any message."""

from pathlib import Path

import pytest

from agent.file_facts import slots_of
from tests.agent.settings_bench import URL, good, the_mistake, the_warning


def test_ws_without_a_password_is_refused_unless_the_lab_says_so() -> None:
    assert "lab_unsecured: true" in the_mistake((URL, "url: ws://10.0.0.1/ocpp"))
    warning = the_warning((URL, "url: ws://10.0.0.1/ocpp\n    lab_unsecured: yes"))
    assert "desk only" in warning


def test_ws_with_a_password_is_security_profile_1(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0o600)
    settings = good((URL, f"url: ws://10.0.0.1/ocpp\n    password_file: {tmp_path}/secret"))
    assert [slot.security_profile for slot in slots_of(settings)] == [1]


def test_an_inline_password_is_a_warning_that_does_not_show_it() -> None:
    warning = the_warning((URL, f"{URL}\n    password: hunter2hunter2hunter2"))
    assert "password_file" in warning
    assert "hunter2" not in warning


def test_a_password_that_does_not_fit_is_not_shown() -> None:
    found = the_mistake((URL, f"{URL}\n    password: hunter2"))
    assert "7 characters" in found
    assert "hunter2" not in found


def test_a_secret_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0o644)
    warning = the_warning((URL, f"{URL}\n    password_file: {tmp_path}/secret"))
    assert "chmod 0600" in warning
    files = f"certificate_file: {tmp_path}/secret, key_file: {tmp_path}/secret"
    warning = the_warning(("supply:", f"security: {{{files}}}\nsupply:"))
    assert "security.key_file" in warning


@pytest.mark.parametrize(("profile", "scheme"), [(1, "wss"), (2, "ws"), (3, "ws")])
def test_a_security_profile_goes_with_its_scheme(profile: int, scheme: str) -> None:
    url = f"url: {scheme}://csms.example.com/ocpp\n    lab_unsecured: true"
    found = the_mistake((URL, f"{url}\n    security_profile: {profile}"))
    assert f"security profile {profile} goes with" in found


@pytest.mark.parametrize("profile", [2, 3])
def test_a_security_profile_may_be_named(profile: int) -> None:
    loaded = good((URL, f"{URL}\n    security_profile: {profile}"))
    assert loaded.csms[0].security_profile == profile


def test_a_certificate_file_that_is_not_there_is_a_warning() -> None:
    assert "put the PEM file there" in the_warning(
        ("supply:", "security: {ca_file: /nowhere/ca.pem}\nsupply:")
    )


def test_a_key_without_its_certificate_is_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "key").touch(0o600)
    found = the_mistake(("supply:", f"security: {{key_file: {tmp_path}/key}}\nsupply:"))
    assert "certificate_file" in found


@pytest.mark.parametrize("scheme", ["wss", "http"])
def test_a_password_in_the_url_is_refused_and_not_shown(scheme: str) -> None:
    found = the_mistake((URL, f"url: {scheme}://me:hunter2@csms.example.com/ocpp"))
    assert "hunter2" not in found


def test_a_password_stands_in_one_place(tmp_path: Path) -> None:
    found = the_mistake((URL, f"{URL}\n    password: hunter2hunter2hunter2\n    password_file: /x"))
    assert "both" in found


@pytest.mark.parametrize("url", ["wss://x:99999/a", "wss://x:0/a", "wss://[::1/a", "wss://x/{id}/"])
def test_an_unusable_url_is_refused(url: str) -> None:
    assert "csms[0].url" in the_mistake((URL, f"url: '{url}'"))
