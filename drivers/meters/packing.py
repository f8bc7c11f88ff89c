"""Which registers are read with one request: as few requests as the meter's limits allow.

No two blocks of one meter have the same length, nor that of the energy register alone: an answer
that comes late then never fits another question (RTU frames carry no transaction number).
"""

from collections.abc import Iterable, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from drivers.meters.coding import Address, Field, FieldName, Function

LARGEST_HOLE = 24
"""So many registers that nobody wants are read along rather than asked around: at 9600 baud a
request of its own costs as much as about 12 registers, and holes may be refused."""


class Block(Struct, frozen=True, forbid_unknown_fields=True):
    """Registers read with one request."""

    address: Address
    count: Annotated[int, Meta(ge=1, le=125)]
    function: Function = 4
    optional: bool = False
    """Versions of the model without these registers exist."""

    @property
    def end(self) -> int:
        """First register behind it."""
        return self.address + self.count

    def holds(self, item: Field) -> bool:
        """All of the field, its power of ten included."""
        return item.function == self.function and all(
            self.address <= begin and end <= self.end for begin, end in extents(item)
        )


def extents(item: Field) -> list[tuple[int, int]]:
    """(first register, first behind it) of the value and of its exponent."""
    own = (item.address, item.address + item.count)
    return [own] if item.exponent is None else [own, (item.exponent, item.exponent + 1)]


def pack(
    fields: Mapping[FieldName, Field],
    wanted: Iterable[FieldName],
    max_registers: int,
    energy: FieldName,
    *,
    even: bool = False,
) -> tuple[Block, ...]:
    """Blocks that hold the wanted fields; `even`: only even counts. Raises ValueError."""
    chosen = sorted((fields[name] for name in wanted if name in fields), key=_begin)
    spans: list[Block] = []
    for function in (3, 4):
        must = [item for item in chosen if item.function == function and not item.optional]
        spans += _joined([_span([item]) for item in must], max_registers)
        spans += [_span([item]) for item in chosen if item.function == function and item.optional]
    taken = {fields[energy].count}
    if fields[energy].exponent is not None:
        taken.add(1)
    return tuple(_unequal(span, taken, max_registers, even=even) for span in spans)


def _begin(item: Field) -> int:
    return min(begin for begin, _ in extents(item))


def _span(items: list[Field]) -> Block:
    begin = min(map(_begin, items))
    end = max(end for item in items for _, end in extents(item))
    return Block(begin, end - begin, items[0].function, items[0].optional)


def _joined(spans: list[Block], max_registers: int) -> list[Block]:
    joined: list[Block] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last is not None and span.address - last.end <= LARGEST_HOLE:
            count = max(last.end, span.end) - last.address
            if count <= max_registers:
                joined[-1] = Block(last.address, count, last.function)
                continue
        joined.append(span)
    return joined


def _unequal(span: Block, taken: set[int], max_registers: int, *, even: bool) -> Block:
    """The span with as many registers more as it takes to have a length of its own.

    Rather by pairs, as most meters' values are: some refuse half a value.
    """
    limit = min(max_registers, 0x10000 - span.address)
    by_pairs = range(span.count + (span.count % 2 if even else 0), limit + 1, 2)
    one_by_one = range(span.count, limit + 1)
    counts = by_pairs if even else (*by_pairs, *one_by_one)
    count = next((count for count in counts if count not in taken), None)
    if count is None:
        raise ValueError(
            f"no block at {span.address:#06x} can have a length of its own: max_registers "
            f"{max_registers} is too small; name the blocks by hand"
        )
    taken.add(count)
    return Block(span.address, count, span.function, span.optional)
