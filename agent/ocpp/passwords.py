"""Passwords that a CSMS has set, by back end: which one a dial shows, and what its end says of it.
None is given up before a newer one has worked (A01)."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from agent.core.effects import Log, Save

KEY = "passwords"
"""State key; the value is as secret as what it holds."""
PATIENCE = 5
"""So many dials in vain with the same password for any reason but a refusal, then one with another:
the CSMS is likely to be down, but not every CSMS refuses a password by 401 or 403."""
MOST_UNPROVED = 3
OLDER_WORKS = (
    "security: the CSMS does not take the password that it has set last, but one before it or that "
    "of charger.yaml; have it set BasicAuthPassword again"
)


class Password(Struct, frozen=True):
    """The newest password of a back end; `before`: the last that worked, None: that of the file."""

    newest: str
    before: str | None = None
    is_proved: bool = False
    """A CSMS has spoken on a link that was opened with it."""
    unproved: tuple[str, ...] = ()
    """Set after `before`, and replaced before a link was opened with them; the latest first. Where
    the answer to the last change was lost, the CSMS knows one of these."""

    def __repr__(self) -> str:
        return f"Password(is_proved={self.is_proved})"


class _Turn(Struct):
    """Whose turn it is of a slot's candidates, counted on and on through them."""

    home: int = 0
    """The one that was not refused."""
    in_vain: int = 0
    """Dials since, that ended for another reason before the CSMS spoke."""

    @property
    def is_trial(self) -> bool:
        """The next dial shows another one than `home`."""
        return self.in_vain % (PATIENCE + 1) == PATIENCE

    @property
    def index(self) -> int:
        return self.home + (self.in_vain // (PATIENCE + 1) + 1 if self.is_trial else 0)

    def ended(self, *, is_refused: bool) -> None:
        """A dial in vain. Every candidate has its turn, whatever the CSMS says to the others."""
        if is_refused and not self.is_trial:
            self.home, self.in_vain = self.home + 1, 0
        else:
            self.in_vain += 1


class _Shown(Struct, frozen=True):
    """What the dial under way, or the open link on which nobody has spoken yet, has shown."""

    slot: int
    credential: int
    index: int


class Passwords:
    """`credential`: index of a back end in charger.yaml, whose own password is the last resort."""

    def __init__(self, saved: Mapping[str, str]) -> None:
        self._by_credential: dict[int, Password] = {}
        self._turns: dict[int, _Turn] = {}
        self._shown: _Shown | None = None
        try:
            self._by_credential = msgspec.json.decode(
                saved.get(KEY, "{}"), type=dict[int, Password]
            )
        except msgspec.MsgspecError:
            pass  # the file's passwords are left

    def candidates(self, credential: int, of_file: str | None) -> tuple[str | None, ...]:
        """What may be tried, the newest first."""
        kept = self._by_credential.get(credential)
        if kept is None:
            return (of_file,)
        found = [kept.newest, *kept.unproved, kept.before, of_file]
        return tuple(dict.fromkeys(password for password in found if password is not None))

    @property
    def replaced(self) -> tuple[int, ...]:
        """Back ends whose CSMS has set another password than charger.yaml has."""
        return tuple(sorted(self._by_credential))

    def show(self, slot: int, credential: int, of_file: str | None) -> str | None:
        """The one for the dial of this slot that is due now: the one that worked last, or the
        newest; the next one after a refusal."""
        known = self.candidates(credential, of_file)
        index = self._turns.setdefault(slot, _Turn()).index % len(known)
        self._shown = _Shown(slot, credential, index)
        return known[index]

    def changed(self, slot: int, credential: int, newest: str) -> Save | None:
        """The CSMS of this slot has set one: every slot begins with it. None: it is the one in use;
        a CSMS may set it at each connection."""
        kept = self._by_credential.get(credential)
        is_same = kept is not None and kept.newest == newest
        if is_same and self._turns.get(slot, _Turn()).home == 0:
            return None
        self._shown = None
        self._turns.clear()
        if kept is None:
            return self._keep(credential, Password(newest))
        if is_same:
            return self._keep(credential, kept)
        if kept.is_proved:
            return self._keep(credential, Password(newest, kept.newest))
        unproved = (kept.newest, *kept.unproved)[:MOST_UNPROVED]
        return self._keep(credential, Password(newest, kept.before, unproved=unproved))

    def closed(self, *, is_refused: bool) -> None:
        """The link ended, or the dial; `is_refused`: the CSMS does not take this password."""
        shown, self._shown = self._shown, None
        if shown is not None:
            self._turns[shown.slot].ended(is_refused=is_refused)

    def heard(self) -> list[object]:
        """The CSMS spoke: the password of this link is good."""
        shown, self._shown = self._shown, None
        if shown is None:
            return []
        self._turns[shown.slot] = _Turn(shown.index)
        kept = self._by_credential.get(shown.credential)
        if kept is None:
            return []
        if shown.index > 0:
            return [Log(4, OLDER_WORKS)]
        if kept.is_proved:
            return []
        return [self._keep(shown.credential, Password(kept.newest, is_proved=True))]

    def _keep(self, credential: int, password: Password) -> Save:
        self._by_credential[credential] = password
        return Save(KEY, msgspec.json.encode(self._by_credential).decode())
