"""What this station uses of `websockets`, loaded at the first dial."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from websockets.exceptions import ConnectionClosed

NEVER_USED = ("importlib.metadata", "urllib.request")
"""`websockets` imports them to name a version that is no release, and to find proxies: neither is
ever asked of it here. They bring half of the standard library's mail and archives along."""


@cache
def client() -> tuple[Any, Any]:
    """(connector, type of its connections): no redirects, pongs are heard, and a whole frame goes
    to `hear` as it comes, unless others wait to be received."""
    with _only_named(NEVER_USED):
        from websockets.asyncio.client import ClientConnection, connect
    from websockets.frames import TEXT, Frame

    class Connection(ClientConnection):
        on_pong: Callable[[], None]
        hear: Callable[[str], bool] | None = None

        def acknowledge_pings(self, data: bytes) -> None:
            super().acknowledge_pings(data)
            self.on_pong()

        def process_event(self, event: Any) -> None:
            """A reader in between costs a turn of the loop for each frame."""
            is_text = type(event) is Frame and event.opcode is TEXT and event.fin
            if self.hear is not None and is_text and not len(self.recv_messages.frames):
                try:
                    text = event.data.decode()
                except UnicodeDecodeError:
                    text = None
                if text is not None and self.hear(text):
                    return
            super().process_event(event)

    class Connector(connect):
        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    return Connector, Connection


@cache
def connection_closed() -> "type[ConnectionClosed]":
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed


@cache
def open_state() -> object:
    from websockets.protocol import OPEN

    return OPEN


@contextmanager
def _only_named(names: Iterable[str]) -> Iterator[None]:
    """Who imports these modules meanwhile gets a name for them: they load when they are used."""
    stubs = {name: _stub(name) for name in names if name not in sys.modules}
    for name, stub in stubs.items():
        package, _, own = name.rpartition(".")
        setattr(import_module(package), own, stub)
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name, stub in stubs.items():
            if sys.modules.get(name) is stub:
                del sys.modules[name]


def _stub(name: str) -> ModuleType:
    stub = ModuleType(name)

    def load(attribute: str) -> Any:
        if sys.modules.get(name) is stub:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    stub.__getattr__ = load  # type: ignore[method-assign]
    return stub
