"""What is said beside a run."""

from __future__ import annotations

import pytest

from wgetpool.access import read_access
from wgetpool.errors import SourceError
from wgetpool.foreground import _command_again, say


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


def test_where_the_login_of_a_proxy_goes_is_said_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """An example that looks like a link would lose its login."""
    with pytest.raises(SourceError) as caught:
        read_access(
            "wget",
            headers=["Proxy-Authorization: Basic x"],
            user_agent=None,
            cookies=None,
            netrc=False,
            options=(),
            warn=pytest.fail,
        )

    say(str(caught.value))

    said = capsys.readouterr().err
    assert "put the login into the address in http_proxy" in said
    assert "://" not in said


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["get", "l.txt", "--header", "@h.txt"], "wgetpool get l.txt --header @h.txt"),
        (["get", "l.txt", "--header", "@/dev/fd/63"], ""),
        (["get", "l.txt", "--header=@/proc/self/fd/11"], ""),
        (["get", "/dev/fd/63"], ""),
        (["get", "l.txt", "--header", "A: b"], ""),
        (["get", "l.txt", "--header=A: b"], ""),
    ],
)
def test_a_command_is_shown_where_it_can_be_typed_once_more(words: list[str], command: str) -> None:
    """Not where it holds a secret, or what a shell had for it only then."""
    assert _command_again(words) == command
