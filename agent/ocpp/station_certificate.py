"""The station's own certificate (A02, A03): which one a dial shows, how the next one is come by.

The newest is shown first, none is given up before a newer one has worked; what does not work is
thrown away once the older one does (A02.FR.10, FR.28).
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from agent.core import effects as ef
from agent.core.events import CertificateFacts, KeyMade, Now
from agent.ocpp.calls import OutgoingCall

KEY, REQUEST_KEY = "station_certificate", "certificate_request"
"""State keys."""
RENEWAL_S = 30 * 86_400.0
"""So long before it expires a new one is asked for (A03.FR.02)."""
ASK_AGAIN_S = 86_400.0
"""After a renewal that came to nothing."""
UNANSWERED_S = 60.0
KIND = "ChargingStationCertificate"


class Identity(Struct, frozen=True):
    """A certificate of the station with the name of its private key's file."""

    key: str
    chain: str
    """PEM, the certificate itself first."""
    facts: CertificateFacts


class Kept(Struct, frozen=True):
    """`before`: the last that worked, while the newest has yet to."""

    newest: Identity | None = None
    before: Identity | None = None


class Request(Struct, frozen=True):
    """A key that waits for its certificate."""

    key: str
    text: str


class IdentityInstalled(Struct, frozen=True):
    """CertificateSigned was accepted."""

    identity: Identity


class IdentityRefused(Struct, frozen=True):
    """CertificateSigned brought something that is no good."""


class StationCertificate:
    """Methods that change return effects: what to save, what to send, what to do."""

    def __init__(self, saved: Mapping[str, str]) -> None:
        self.warnings: list[str] = []
        self._kept = Kept()
        self.request: Request | None = None
        self._making = ""
        self._wait_s = 0.0
        self._waits = 0
        self._unanswered_s = UNANSWERED_S
        self._resend_at_s: float | None = None
        self._not_before_s = float("-inf")
        self._shown: Identity | None = None
        try:
            self._kept = msgspec.json.decode(saved.get(KEY, "{}"), type=Kept)
            if REQUEST_KEY in saved:
                self.request = msgspec.json.decode(saved[REQUEST_KEY], type=Request)
        except msgspec.MsgspecError:
            self.warnings.append(
                "what was kept of the station's own certificate cannot be read; have the CSMS"
                " renew it, or name certificate_file and key_file in charger.yaml again"
            )

    # --- asking -----------------------------------------------------------------------------

    @property
    def newest(self) -> Identity | None:
        return self._kept.newest

    @property
    def all(self) -> tuple[Identity, ...]:
        kept = (self._kept.newest, self._kept.before)
        return tuple(identity for identity in kept if identity is not None)

    @property
    def count(self) -> int:
        return len(self.all)

    def to_show(self, rounds: int) -> Identity | None:
        """For the next dial, after so many times that all back ends were tried in vain."""
        turns = self.all
        self._shown = turns[rounds % len(turns)] if turns else None
        return self._shown

    def _keys(self) -> tuple[str, ...]:
        keys = [identity.key for identity in self.all]
        keys += [self.request.key] if self.request is not None else []
        return (*keys, self._making) if self._making else tuple(keys)

    # --- a new one ----------------------------------------------------------------------------

    def begin(self, common_name: str, organization: str, now: Now) -> list[object]:
        """A02.FR.02, A03.FR.02: a new key, unless one is being made already."""
        if self._making:
            return []
        self._making, self._resend_at_s = f"{now.new_id()}.pem", None
        return [ef.MakeKey(self._making, common_name, organization)]

    def made(self, event: KeyMade, now: Now) -> list[object]:
        """A02.FR.03: the request is kept, so that its certificate finds its key after a restart."""
        if event.key != self._making:
            return []
        self._making = ""
        if event.problem:
            self._not_before_s = now.mono_s + ASK_AGAIN_S
            words = f"security: no key could be made for a new certificate: {event.problem}"
            return [ef.Log(3, words)]
        self.request, self._waits = Request(event.key, event.request), 0
        self._unanswered_s = UNANSWERED_S
        kept = ef.Save(REQUEST_KEY, msgspec.json.encode(self.request).decode())
        return [kept, ef.KeepKeys(self._keys()), *self._ask()]

    def _ask(self) -> list[object]:
        if self.request is None:
            return []
        payload = {"csr": self.request.text, "certificateType": KIND}
        return [OutgoingCall("SignCertificate", payload)]

    def started(self, minimum_s: float, now: Now) -> list[object]:
        """A request that was under way when the station went down is asked for again."""
        if self.request is not None:
            self._resend_at_s = now.mono_s + max(minimum_s, UNANSWERED_S)
        return [ef.KeepKeys(self._keys())]

    def answered(
        self, response: Mapping[str, object] | None, minimum_s: float, repeats: int, now: Now
    ) -> list[object]:
        """A02.FR.17 to FR.19: the wait doubles each time, and has an end."""
        if self.request is None:
            return []
        if response is None:
            self._resend_at_s = now.mono_s + self._unanswered_s
            self._unanswered_s = min(2 * self._unanswered_s, ASK_AGAIN_S)
            return []
        if response["status"] != "Accepted":
            return [*self._give_up(now), ef.Log(4, "security: the CSMS signs no certificate now")]
        if self._waits > repeats:
            self._resend_at_s = None
            self._not_before_s = now.mono_s + ASK_AGAIN_S
            return []
        self._wait_s = minimum_s if self._waits == 0 else 2 * self._wait_s
        self._waits += 1
        self._resend_at_s = now.mono_s + self._wait_s
        return []

    def _give_up(self, now: Now) -> list[object]:
        self.request, self._resend_at_s = None, None
        self._not_before_s = now.mono_s + ASK_AGAIN_S
        return [ef.Save(REQUEST_KEY, None), ef.KeepKeys(self._keys())]

    def refused(self, now: Now) -> list[object]:
        """A02.FR.07, FR.20: what came is no good; the CSMS asks when it wants another try."""
        return self._give_up(now)

    def install(self, identity: Identity) -> list[object]:
        """A02.FR.08: shown from the next dial on."""
        is_proved = self._kept.before is None
        before = self._kept.newest if is_proved else self._kept.before
        self.request, self._resend_at_s, self._shown = None, None, None
        saved = self._keep(Kept(identity, before))
        return [saved, ef.Save(REQUEST_KEY, None), ef.KeepKeys(self._keys())]

    # --- time -------------------------------------------------------------------------------

    def deadline(self, now: Now) -> float | None:
        """When to ask for the next one, or again."""
        if self._making:
            return None
        if self.request is not None:
            return self._resend_at_s
        if self.newest is None or not now.utc_known:
            return None
        due_s = self.newest.facts.not_after_s - RENEWAL_S - now.utc_offset_s
        return max(due_s, self._not_before_s)

    def tick(self, common_name: str, organization: str, now: Now) -> list[object]:
        """What is due; the CSMS must be there to hear it."""
        due_s = self.deadline(now)
        if due_s is None or now.mono_s < due_s:
            return []
        if self.request is not None:
            self._resend_at_s = None
            return self._ask()
        return self.begin(common_name, organization, now)

    # --- proof ------------------------------------------------------------------------------

    def heard(self) -> tuple[list[object], bool]:
        """The CSMS spoke: what was shown to it is good, and the other one goes; and whether that
        was the newest."""
        kept, shown = self._kept, self._shown
        if shown is None or kept.before is None:
            return [], False
        self._shown = None
        gave_up = shown == kept.before
        return [self._keep(Kept(shown)), ef.KeepKeys(self._keys())], gave_up

    def _keep(self, kept: Kept) -> ef.Save:
        self._kept = kept
        return ef.Save(KEY, msgspec.json.encode(kept).decode())


def first_save(identity: Identity) -> ef.Save:
    """The certificate of the technician's file, which replaces all others."""
    return ef.Save(KEY, msgspec.json.encode(Kept(identity)).decode())
