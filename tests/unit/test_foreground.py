"""What is said beside a run."""

from __future__ import annotations

import pytest

from wgetpool.foreground import say


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("cannot read https://h/sums?sig=S: no", "cannot read https://h/sums?...: no"),
        ("cannot read http:/h/sums?sig=S", "cannot read http:/h/sums?..."),
        ("there is no 'https://u:S@h/w?x=S'", "there is no 'https://h/w?...'"),
        ("there is no https://u:S@h/w", "there is no https://h/w"),
        ("nothing of a\x1b[2J name", "nothing of a?[2J name"),
        ("a bad line:\nl.txt:1: why", "a bad line:\nl.txt:1: why"),
        ("What is it? https://e.org/a", "What is it? https://e.org/a"),
    ],
)
def test_no_secret_and_no_control_character_is_said(
    message: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was typed may be a link in the wrong place, and logs are kept."""
    say(message)

    assert capsys.readouterr().err == f"wgetpool: {said}\n"
