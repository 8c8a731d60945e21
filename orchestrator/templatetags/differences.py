"""Two values, one over the other, letter by letter: agreement is quiet, only the letters that differ are marked."""

import unicodedata
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

# Beyond this many letters a mark per letter helps nobody, and hostile text shall not cost us time.
_LIMIT = 400


class Piece(NamedTuple):
    """A stretch of one value: as in the other value, other than there, or a gap of so many missing letters."""

    text: str
    kind: str  # "same", "differs" or "gap"


class _Block(NamedTuple):
    """A stretch of both values: letters `left` stand where letters `right` stand in the other value."""

    equal: bool
    left: list[str]
    right: list[str]

    @property
    def size(self) -> int:
        return max(len(self.left), len(self.right))


def letters(text: str) -> list[str]:
    """The text as people see it: a letter together with its combining marks is one."""
    seen: list[str] = []
    for char in text:
        if seen and unicodedata.combining(char):
            seen[-1] += char
        else:
            seen.append(char)
    return seen


def _key(letter: str) -> str:
    """Case does not count as a difference, nor does the way an accent was encoded."""
    return unicodedata.normalize("NFC", letter).casefold()


def same(received: str, ordered: str) -> bool:
    return received == ordered or list(map(_key, letters(received))) == list(map(_key, letters(ordered)))


def compare(received: str, ordered: str) -> tuple[list[Piece], list[Piece]]:
    """Both values in pieces that stand one above the other: where one lacks letters it has a gap as wide."""
    left, right = letters(received), letters(ordered)
    if len(left) > _LIMIT or len(right) > _LIMIT:
        kind = "same" if same(received, ordered) else "differs"
        return [Piece(received, kind)], [Piece(ordered, kind)]
    over: list[Piece] = []
    under: list[Piece] = []
    blocks = _blocks(left, right)
    for block in blocks:
        kind = "same" if block.equal else "differs"
        # At the end nothing stands after the shorter value that a gap would have to keep in line.
        last = block is blocks[-1] and bool(block.left) and bool(block.right)
        for pieces, own, other in ((over, block.left, block.right), (under, block.right, block.left)):
            if not block.equal and len(own) == len(other):
                pieces.extend(_letter_by_letter(own, other))
                continue
            if own:
                pieces.append(Piece("".join(own), kind))
            if len(other) > len(own) and not last:
                pieces.append(Piece("·" * (len(other) - len(own)), "gap"))
    return _joined(over), _joined(under)


def _blocks(left: list[str], right: list[str]) -> list[_Block]:
    """The shortest edit, without the chance agreements that hide what happened (`40` for `04`)."""
    keys = [_key(letter) for letter in left], [_key(letter) for letter in right]
    blocks: list[_Block] = []
    for edit in Levenshtein.opcodes(*keys):
        over, under = left[edit.src_start : edit.src_end], right[edit.dest_start : edit.dest_end]
        blocks.append(_Block(edit.tag == "equal", over, under))
        blocks = _merged(blocks)
    return blocks


def _merged(blocks: list[_Block]) -> list[_Block]:
    """Join changes that follow one another, and swallow agreement shorter than the changes on both its sides."""
    while len(blocks) > 1 and not blocks[-1].equal:
        if not blocks[-2].equal:
            tail = blocks[-2:]
        elif len(blocks) > 2 and blocks[-2].size <= min(blocks[-3].size, blocks[-1].size):
            tail = blocks[-3:]
        else:
            break
        joined = _Block(
            False,
            [letter for block in tail for letter in block.left],
            [letter for block in tail for letter in block.right],
        )
        blocks = [*blocks[: -len(tail)], joined]
    return blocks


def _letter_by_letter(own: list[str], other: list[str]) -> list[Piece]:
    return [
        Piece(letter, "same" if _key(letter) == _key(beside) else "differs")
        for letter, beside in zip(own, other, strict=True)
    ]


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbours of one kind as one piece, so that there is one mark to read, not one per edit."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and joined[-1].kind == piece.kind:
            joined[-1] = Piece(joined[-1].text + piece.text, piece.kind)
        else:
            joined.append(piece)
    return joined
