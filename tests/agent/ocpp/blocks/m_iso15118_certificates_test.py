"""Block M: what a link proves of the root that vouched for it."""

from types import SimpleNamespace
from typing import Any

from agent.core.effects import Save
from agent.core.events import CertificateFacts, FrameReceived, LinkOpened, Now
from agent.ocpp.blocks import m_iso15118_certificates as block
from agent.ocpp.certificates import CSMS, Certificates, Root
from drivers.contract import Permit

NOW = Now(100.0, 1e9, True, "b", Permit(0), lambda: 0.5, lambda: "id")


def root(name: str) -> Root:
    facts = CertificateFacts(name, "1", name, "Bench", 0.0, 4e9, True, {})
    return Root(CSMS, name, facts)


def heard(view: Any, trusted_by: str) -> tuple[object, ...]:
    """What a frame on a link that this root vouched for leads to."""
    block.ON_EVENT[LinkOpened](LinkOpened(0, trusted_by), view, NOW)
    return block.ON_EVENT[FrameReceived](FrameReceived("[]"), view, NOW).effects


def test_a_link_without_tls_does_not_cost_the_fallback() -> None:
    """M05.FR.13: the new root was tried in vain, then a slot without TLS answered."""
    known = Certificates({}, is_strict=True)
    view = SimpleNamespace(certificates=known)
    known.install(root("old"))
    known.install(root("new"))
    assert [r.pem for r in known.trusted(0, is_migrating=False, came_back=False)] == ["new"]
    assert heard(view, "") == ()
    assert heard(view, "new") == (Save(root("old").key, None),)
