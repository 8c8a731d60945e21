"""One stream for the lines of all processes: `web      | …`, coloured on a terminal."""

import os
import re
from typing import TextIO

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
OWN_NAME = "fiducial"


class Console:
    """Writes whole lines. When nobody reads them any more (a closed pipe), work goes on without them."""

    def __init__(self, stream: TextIO, names: list[str]) -> None:
        self._stream = stream
        self._width = max(map(len, [*names, OWN_NAME]))
        coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self._colour = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)} if coloured else {}
        self._closed = False

    def line(self, name: str, text: str) -> None:
        """One line of the process `name`. Control characters are shown, not obeyed: peers' text ends up in logs."""
        shown = _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text.rstrip("\r\n"))
        prefix = f"{name:<{self._width}} |"
        if name in self._colour:
            prefix = f"\x1b[{self._colour[name]}m{prefix}\x1b[0m"
        self._write(f"{prefix} {shown}\n")

    def say(self, text: str) -> None:
        """A line of the supervisor's own."""
        self.line(OWN_NAME, text)

    def block(self, text: str) -> None:
        """Lines as they are."""
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        if self._closed:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._closed = True
