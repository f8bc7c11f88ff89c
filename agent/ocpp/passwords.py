"""Passwords that a CSMS has set, by back end: the newest is tried first, none is given up before a
newer one has worked (A01)."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from agent.core.effects import Save

KEY = "passwords"
"""State key; the value is as secret as what it holds."""


class Password(Struct, frozen=True):
    """The newest password of a back end; `before`: the last that worked, None: that of the file."""

    newest: str
    before: str | None = None
    is_proved: bool = False
    """A CSMS has spoken on a link that was opened with it."""

    def __repr__(self) -> str:
        return f"Password(is_proved={self.is_proved})"


class Passwords:
    """`credential`: index of a back end in charger.yaml, whose own password is the last resort."""

    def __init__(self, saved: Mapping[str, str]) -> None:
        self._by_credential: dict[int, Password] = {}
        self._opened_with_newest = False
        try:
            self._by_credential = msgspec.json.decode(
                saved.get(KEY, "{}"), type=dict[int, Password]
            )
        except msgspec.MsgspecError:
            pass  # the file's passwords are left

    def candidates(self, credential: int, of_file: str | None) -> tuple[str | None, ...]:
        """What to try, in this order, over and over until a link opens."""
        kept = self._by_credential.get(credential)
        if kept is None:
            return (of_file,)
        found = [kept.newest, kept.before, of_file]
        return tuple(dict.fromkeys(password for password in found if password is not None))

    @property
    def replaced(self) -> tuple[int, ...]:
        """Back ends whose CSMS has set another password than charger.yaml has."""
        return tuple(sorted(self._by_credential))

    def changed(self, credential: int, newest: str) -> Save:
        """The CSMS set another one."""
        kept = self._by_credential.get(credential)
        before = None
        if kept is not None:
            before = kept.newest if kept.is_proved else kept.before
        self._opened_with_newest = False
        return self._keep(credential, Password(newest, before))

    def opened(self, failed_dials: int) -> None:
        """A link opened after so many attempts in vain."""
        self._opened_with_newest = failed_dials == 0

    def heard(self, credential: int) -> list[object]:
        """The CSMS spoke: the password of this link is good."""
        kept = self._by_credential.get(credential)
        if kept is None or kept.is_proved or not self._opened_with_newest:
            return []
        return [self._keep(credential, Password(kept.newest, is_proved=True))]

    def _keep(self, credential: int, password: Password) -> Save:
        self._by_credential[credential] = password
        return Save(KEY, msgspec.json.encode(self._by_credential).decode())
