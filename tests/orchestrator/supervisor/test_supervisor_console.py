"""Lines of many processes in one stream."""

import io
import os

import pytest

from orchestrator.supervisor.console import Console


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_names_are_aligned_and_plain_off_a_terminal() -> None:
    stream = io.StringIO()
    console = Console(stream, ["web", "worker-hl7"])
    console.line("web", "GET /\n")
    console.say("up")
    assert stream.getvalue() == "web        | GET /\nfiducial   | up\n"


def test_names_are_coloured_on_a_terminal_unless_the_user_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = _Terminal()
    Console(coloured, ["web"]).line("web", "x")
    assert coloured.getvalue().startswith("\x1b[36mweb      |\x1b[0m x")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = _Terminal()
    Console(plain, ["web"]).line("web", "x")
    assert plain.getvalue() == "web      | x\n"


def test_a_peers_control_characters_do_not_reach_the_terminal() -> None:
    stream = io.StringIO()
    Console(stream, ["dicom"]).line("dicom", "from \x1b[2JEVIL\r\x9b\ttab")
    assert stream.getvalue() == "dicom    | from \\x1b[2JEVIL\\x0d\\x9b\ttab\n"


def test_work_goes_on_when_nobody_reads_the_lines_any_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        console = Console(stream, ["web"])
        console.say("lost")
        console.say("lost too")
        # What could not be written must not fail at close either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
