"""What ChangeAvailability leaves behind, beside the cases of the standard."""

from agent.core.availability import AVAILABILITY_KEY, Availability
from agent.core.connector import Connector
from agent.core.effects import Save
from agent.core.evse import Evse


def evses(*sizes: int) -> dict[int, Evse]:
    return {
        n: Evse(n, tuple(Connector(n, c) for c in range(1, size + 1)))
        for n, size in enumerate(sizes, start=1)
    }


def test_the_levels_are_saved_apart_and_come_back_apart() -> None:
    first = Availability(evses(2, 1), "[]")
    first.change(0, 0, False)
    first.change(1, 2, False)
    saved = first.change(2, 0, False)
    assert saved == Save(AVAILABILITY_KEY, "[[0,0],[2,0],[1,2]]")
    found = evses(2, 1)
    again = Availability(found, saved.value or "")
    again.change(0, 0, True)
    assert [again.of(*place) for place in ((0, 0), (1, 0), (1, 1), (1, 2), (2, 0))] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert [evse.station_operative for evse in found.values()] == [True, True]


def test_places_that_the_file_no_longer_has_are_forgotten() -> None:
    kept = Availability(evses(1), "[[1,2],[2,0],[2,1],[1,1]]")
    assert kept.change(1, 0, True) == Save(AVAILABILITY_KEY, "[[1,1]]")
