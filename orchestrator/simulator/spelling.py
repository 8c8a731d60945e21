"""How a name comes out otherwise when somebody types it: slips, swapped parts, maiden names, other alphabets."""

import re
import unicodedata
from dataclasses import replace
from random import Random

from orchestrator.simulator.people import Person, another_family

_LATIN = {
    **dict(zip("αβγδεζηθικλμνξοπρσςτυφχψω", (
        "a", "v", "g", "d", "e", "z", "i", "th", "i", "k", "l", "m", "n", "x", "o", "p", "r", "s", "s", "t", "y", "f",
        "ch", "ps", "o",
    ), strict=True)),
    **dict(zip("абвгдежзийклмнопрстуфхцчшщъыьэюя", (
        "a", "b", "v", "g", "d", "e", "zh", "z", "i", "y", "k", "l", "m", "n", "o", "p", "r", "s", "t", "u", "f", "kh",
        "ts", "ch", "sh", "shch", "", "y", "", "e", "yu", "ya",
    ), strict=True)),
    **dict(zip("äöüßøåæþłđñğış", (
        "ae", "oe", "ue", "ss", "oe", "aa", "ae", "th", "l", "d", "n", "g", "i", "s",
    ), strict=True)),
}  # fmt: skip


def letters(name: str) -> str:
    """A name as it is compared by eye: no case, no accents."""
    plain = unicodedata.normalize("NFKD", name.upper())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def mistyped(rng: Random, person: Person) -> Person:
    """One slip in the family or the given name: never the original's words, not even without accents."""
    if rng.random() < 0.5:
        return replace(person, family=_misspelt(rng, person.family))
    return replace(person, given=_misspelt(rng, person.given))


def _misspelt(rng: Random, word: str) -> str:
    """A letter lost, doubled, or changed places with its neighbour."""
    at = rng.randrange(1, len(word) - 1) if len(word) > 3 else len(word) - 1
    lost, doubled = word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]
    turned = word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :] if at else word
    slips = [slip for slip in (lost, doubled, turned) if slip.strip() and _words(slip) != _words(word)]
    return rng.choice(slips or [word + word[-1]])


def _words(name: str) -> list[str]:
    """What is left where nobody looks at spaces, hyphens and apostrophes: one more of these is no slip."""
    return re.findall(r"\w+", letters(name))


def swapped(person: Person) -> Person:
    """Family and given name in each other's field."""
    return replace(person, family=person.given, given=person.family)


def maiden(rng: Random, person: Person) -> Person:
    """Under the family name of before."""
    return replace(person, family=another_family(rng, person.family))


def transliterated(person: Person) -> Person:
    """In plain Latin letters, as passports and old consoles have it."""
    return replace(person, **{part: _in_latin(getattr(person, part)) for part in ("family", "given", "middle")})


def _in_latin(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)
    written = "".join(_one(letter) for letter in composed)
    plain = unicodedata.normalize("NFKD", written)
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _one(letter: str) -> str:
    lower = letter.lower()
    if lower not in _LATIN:
        base = unicodedata.normalize("NFD", lower)[0]
        if base not in _LATIN:
            return letter
        lower = base
    latin = _LATIN[lower]
    return latin.capitalize() if letter.isupper() else latin
