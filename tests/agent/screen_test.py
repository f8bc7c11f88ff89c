"""A text in its place on a terminal."""

import pytest

from agent import screen


def shown(text: str, columns: int, rows: int) -> list[str]:
    """Lines as a terminal has them, without what moves the cursor."""
    sent = screen.in_place(text, columns, rows)
    assert sent.startswith(screen.HOME)
    assert sent.endswith("\n" + screen.END_OF_SCREEN)
    body = sent.removeprefix(screen.HOME).removesuffix("\n" + screen.END_OF_SCREEN)
    lines = body.split("\n")
    assert all(line.endswith(screen.END_OF_LINE) for line in lines), "rests of the look before"
    return [line.removesuffix(screen.END_OF_LINE) for line in lines]


def test_what_fits_is_shown_whole() -> None:
    assert shown("a\nb", 10, 4) == ["a", "b"]


def test_a_line_never_wraps_and_the_screen_never_scrolls() -> None:
    lines = shown("\n".join("x" * 50 for _ in range(20)), 10, 5)
    assert lines == ["x" * 10] * 3 + ["... 17 mor"]
    assert len(shown("\n".join("abcdefgh"), 80, 5)) == 4


def test_without_a_terminal_it_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show("a\nb")
    assert capsys.readouterr().out == "a\nb\n"
