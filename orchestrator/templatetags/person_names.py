"""Person names for people: `FAMILY, Given`, from the DICOM PN value (PS3.5 section 6.2.1).

A PN has up to three groups, parted by `=`: alphabetic, ideographic, phonetic; each group has up to five
components, parted by `^`: family, given, middle, prefix, suffix. Nothing of a name is ever dropped or cut:
a cut name is a safety risk. What a peer sent is hostile text: control and direction-changing characters
are shown as U+FFFD, since they could make one name look like another.
"""

import re
import unicodedata
from typing import NamedTuple

NO_NAME = "no name"

_EMBEDDINGS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_WORD = re.compile(r"[^\W\d_]+")


class PersonName(NamedTuple):
    """The three groups of a name, each ready to be shown; empty when not sent."""

    alphabetic: str
    ideographic: str
    phonetic: str

    @property
    def main(self) -> str:
        """The group to show first: the alphabetic one, or whichever was sent."""
        return self.alphabetic or self.ideographic or self.phonetic

    @property
    def others(self) -> list[str]:
        """The remaining groups that were sent."""
        return [group for group in self if group and group != self.main]


def visible(text: str) -> str:
    """The text with every control or direction-changing character made visible as U+FFFD."""
    if text.isprintable():  # neither is; nearly every text is
        return text
    return "".join(
        "\ufffd" if char in _EMBEDDINGS or unicodedata.category(char) in {"Cc", "Cs"} else char for char in text
    )


def _upper(text: str) -> str:
    """Upper case letter by letter; a letter that would become two (`ß`) stays as it was sent."""
    return "".join(char.upper() if len(char.upper()) == 1 else char for char in text)


def _given(text: str) -> str:
    """A given name as sent, unless it came all in capitals: then each word is capitalised."""
    letters = [char for char in text if char.isalpha()]
    if len(letters) < 2 or any(char != char.upper() for char in letters):
        return text
    return _WORD.sub(lambda word: word[0][0] + word[0][1:].lower(), text)


def _group(text: str, *, latin: bool) -> str:
    components = [visible(part).strip() for part in text.split("^")]
    family, given, middle, prefix, suffix, *beyond = [*components, "", "", "", "", ""]
    called = " ".join(filter(None, (given, middle)))
    if latin:
        family, called = _upper(family), _given(called)
    titles = ", ".join(filter(None, (prefix, suffix, *beyond)))
    name = ", ".join(filter(None, (family, called)))
    if titles:
        return f"{name} ({titles})" if name else titles
    return name


def read(value: object) -> PersonName:
    """The groups of a DICOM PN value. More groups than three (not allowed) are kept in the last one."""
    alphabetic, ideographic, *phonetic = [*str(value or "").split("="), "", ""]
    return PersonName(
        _group(alphabetic, latin=True),
        _group(ideographic, latin=False),
        ", ".join(filter(None, (_group(group, latin=False) for group in phonetic))),
    )
