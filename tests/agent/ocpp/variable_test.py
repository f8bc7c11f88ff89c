"""Which texts a variable takes, by its type, bounds and list."""

from typing import Any

import pytest

from agent.ocpp.variable import Variable, accepted_text


def of_type(data_type: str, **other: Any) -> Variable:
    return Variable("C", "V", data_type, **other)


MEMBERS = {"values": ("A", "B", "C")}


@pytest.mark.parametrize(
    ("variable", "value", "kept"),
    [
        (of_type("integer"), "300", "300"),
        (of_type("integer"), "-1", "-1"),
        (of_type("integer"), "0300", "300"),
        (of_type("integer"), "300.1", None),
        (of_type("integer"), "abc", None),
        (of_type("integer"), "true", None),
        (of_type("integer"), "", None),
        (of_type("integer"), " 3", None),
        (of_type("integer"), "٣", None),
        (of_type("integer"), "2147483647", "2147483647"),
        (of_type("integer"), "2147483648", None),
        (of_type("integer"), "1" * 5000, None),
        (of_type("integer", min_limit=1), "0", None),
        (of_type("integer", min_limit=1), "1", "1"),
        (of_type("integer", max_limit=5), "6", None),
        (of_type("integer", max_limit=5), "5", "5"),
        (of_type("decimal"), "1.5", "1.5"),
        (of_type("decimal"), "-2", "-2"),
        (of_type("decimal"), "1e3", None),
        (of_type("decimal"), "nan", None),
        (of_type("decimal", max_limit=1.4), "1.5", None),
        (of_type("boolean"), "true", "true"),
        (of_type("boolean"), "false", "false"),
        (of_type("boolean"), "TRUE", None),
        (of_type("boolean"), "1", None),
        (of_type("dateTime"), "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"),
        (of_type("dateTime"), "2026-02-30T01:00:00Z", None),
        (of_type("dateTime"), "300", None),
        (of_type("string", max_length=3), "abc", "abc"),
        (of_type("string", max_length=3), "abcd", None),
        (of_type("string", min_length=2), "a", None),
        (of_type("string"), "", ""),
        (of_type("OptionList", **MEMBERS), "B", "B"),
        (of_type("OptionList", **MEMBERS), "A,B", None),
        (of_type("OptionList", **MEMBERS), "D", None),
        (of_type("MemberList", **MEMBERS), "C,A", "C,A"),
        (of_type("MemberList", **MEMBERS), "C, A", "C,A"),
        (of_type("MemberList", **MEMBERS), "A,D", None),
        (of_type("MemberList", **MEMBERS), "A,A", None),
        (of_type("MemberList", **MEMBERS), "A,", None),
        (of_type("MemberList", **MEMBERS), "", None),
        (of_type("MemberList", may_be_empty=True, **MEMBERS), "", ""),
        (of_type("SequenceList", **MEMBERS), "B,A", "B,A"),
        (of_type("SequenceList", max_length=2, **MEMBERS), "B,A", None),
    ],
)
def test_a_value_is_kept_or_refused(variable: Variable, value: str, kept: str | None) -> None:
    assert accepted_text(variable, value) == kept
