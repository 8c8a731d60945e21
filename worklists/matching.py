"""What a worklist key means (PS3.4 C.2.2.2 and K.4.1): pure, without Django or DICOM libraries.

Conformance choices made here: person names compare without case and accents, group by group; a start time that
nobody gave is midnight; several values of a key, separated by backslashes, match any of them.
"""

import re
import unicodedata
from dataclasses import dataclass, field

# Longest key that is compared: nothing that we store is longer (PN: three groups of 64 and the delimiters).
_LONGEST_KEY = 324
_LETTERS_WITHOUT_DECOMPOSITION = str.maketrans({"Ø": "O", "Æ": "AE", "Œ": "OE", "Ł": "L", "Đ": "D", "İ": "I"})
# DA with the old dots, TM with the old colons (PS3.5 6.2 asks to go on reading both).
_DATE = re.compile(r"(\d{4})\.?(0[1-9]|1[0-2])\.?(0[1-9]|[12]\d|3[01])")
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(?:\.(\d{1,6}))?)?)?")


class BadKey(Exception):
    """A key that cannot be matched as it stands: (its keyword, what is wrong), without its value."""


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive; an empty end is open. Both ends equal for a single value."""

    low: str
    high: str
    is_range: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    """A worklist query, ready to be compared. Alternatives of a key are globs: `*` any run, `?` one character."""

    # Column of a worklist entry → alternatives.
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    station_ae_titles: tuple[str, ...] = ()
    patient_names: tuple[str, ...] = ()
    performing_physician_names: tuple[str, ...] = ()
    # YYYYMMDDHHMMSSFFFFFF, fixed width, so that text order is time order.
    start: Range | None = None
    # HHMMSSFFFFFF
    start_time: Range | None = None


# Keys that one exam or patient has, or few; then what many have.
_IDENTIFYING = (
    "study_instance_uid", "accession_number", "sps_id", "requested_procedure_id", "patient_id", "patient_names",
)  # fmt: skip
_COMMON = ("station_ae_titles", "patient_names", "patient_id", "performing_physician_names")


def narrowest(keys: Keys) -> str:
    """The key that fewest entries fit, of those that an index looks up; `start` when there is none of them."""
    globs = {
        **keys.columns,
        "station_ae_titles": keys.station_ae_titles,
        "patient_names": keys.patient_names,
        "performing_physician_names": keys.performing_physician_names,
    }
    for name in _IDENTIFYING:
        if globs.get(name) and all(is_literal(glob) for glob in globs[name]):
            return name
    # Without a day all that waits is looked through for the others: an exam's number begins like few.
    for name in _COMMON if keys.start else ("accession_number", *_COMMON):
        if globs.get(name) and all(_begins(name, glob) for glob in globs[name]):
            return name
    return "start"


def _begins(name: str, glob: str) -> bool:
    """Whether an index has what fits in one place: of a station, whose days follow its title, by the whole title."""
    return is_literal(glob) if name == "station_ae_titles" else glob[0] not in "*?"


def is_literal(glob: str) -> bool:
    return "*" not in glob and "?" not in glob


def fold_name(group: str) -> str:
    """One component group of a PN for comparison: no case, no accents, no padding, no trailing empty components.

    Unlike the ground's folded name, components stay where they are: `DOE^J*` asks for family name and given name.
    """
    decomposed = unicodedata.normalize("NFKD", group)
    # Only the accents of Latin, Greek and Cyrillic: a Japanese voicing mark makes another letter.
    plain = "".join(letter for letter in decomposed if not "\u0300" <= letter <= "\u036f")
    upper = unicodedata.normalize("NFC", plain).upper().translate(_LETTERS_WITHOUT_DECOMPOSITION)
    return "^".join(" ".join(part.split()) for part in upper.split("^")).rstrip("^")


def name_groups(name: str) -> list[str]:
    """The folded component groups (alphabetic, ideographic, phonetic) of a PN that are not empty."""
    return [folded for group in name.split("=") if (folded := fold_name(group))]


def alternatives(keyword: str, value: str) -> tuple[str, ...]:
    """The values of a key as globs; () when it matches everything. Raises BadKey."""
    if len(value) > _LONGEST_KEY:
        raise BadKey(keyword, "is too long")
    if "\0" in value:
        raise BadKey(keyword, "has a NUL in it")
    globs = [re.sub(r"\*+", "*", each.strip()) for each in value.split("\\")]
    globs = [each for each in globs if each]
    return () if "*" in globs else tuple(globs)


def name_alternatives(keyword: str, value: str) -> tuple[str, ...]:
    """The same for a PN: each group of the key is compared with each group of the name. Raises BadKey."""
    globs = alternatives(keyword, value)
    groups = [group for glob in globs for group in name_groups(glob)]
    # Components at the end that are anything may be missing: `DOE^*` is also who has no given name.
    groups += [short for group in groups if (short := re.sub(r"(\^\*)+$", "", group)) != group]
    return () if "*" in groups else tuple(filter(None, groups))


def matches(glob: str, value: str) -> bool:
    """Whether a value fits a glob; an empty value fits none (PS3.4 C.2.2.2.4)."""
    pattern = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in glob)
    return bool(value) and re.fullmatch(pattern, value, re.DOTALL) is not None


def _date(keyword: str, text: str) -> str:
    found = _DATE.fullmatch(text)
    if found is None:
        raise BadKey(keyword, "is not a date")
    return "".join(found.groups())


def _time(keyword: str, text: str, *, last: bool = False) -> str:
    """HHMMSSFFFFFF. What is left out is zero or, at the end of a range, the last moment that it can mean."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise BadKey(keyword, "is not a time")
    hour, minute, second, fraction = found.groups()
    return f"{hour}{minute or ('59' if last else '00')}{second or ('59' if last else '00')}" + (fraction or "").ljust(
        6, "9" if last else "0"
    )


def _ends(text: str) -> tuple[str, str, bool]:
    low, dash, high = text.partition("-")
    return low.strip(), high.strip() if dash else low.strip(), bool(dash)


def date_range(keyword: str, text: str) -> Range | None:
    """A DA key: `a`, `a-b`, `-b`, `a-`; None when it matches everything. Raises BadKey."""
    low, high, is_range = _ends(text.strip())
    if not (low or high):
        return None
    return Range(low and _date(keyword, low), high and _date(keyword, high), is_range)


def time_range(keyword: str, text: str) -> Range | None:
    """A TM key, the same way: `2230` is `223000`. Raises BadKey."""
    low, high, is_range = _ends(text.strip())
    if not (low or high):
        return None
    return Range(low and _time(keyword, low), high and _time(keyword, high, last=is_range), is_range)


def start_ranges(dates: Range | None, times: Range | None) -> tuple[Range | None, Range | None]:
    """The keys for start date and start time as ranges over the combined start and over the time of day.

    Two ranges are one interval in time (PS3.4 K.4.1.1.1): from the first day's first time to the last day's last.
    """
    if dates is None:
        return None, times
    whole_days = Range(dates.low and f"{dates.low}000000000000", dates.high and f"{dates.high}999999999999", True)
    if times is None or not (dates.is_range and times.is_range):
        return whole_days, times
    low = dates.low and dates.low + (times.low or "000000000000")
    high = dates.high and dates.high + (times.high or "999999999999")
    return Range(low, high, True), None
