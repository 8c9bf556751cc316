"""What Python does to single characters: lower case, accents. Tables for text analysis, from Python itself.

`str.lower` looks at one character at a time but for the capital sigma, whose lower case at the end of a word is
another one; compatibility decomposition looks at one character at a time but for the order of combining marks, which
are removed here.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

SIGMA: Final = "\u03a3"
FINAL_SIGMA: Final = "\u03c2"
SMALL_SIGMA: Final = "\u03c3"
CASED: Final = 1
IGNORABLE: Final = 2


def _characters() -> Iterator[str]:
    """Yield all characters that a mapping could change: planes 4 to 13 are empty, 15 and 16 private."""
    for first, last in ((0, 0xD800), (0xE000, 0x40000), (0xE0000, 0xE1000)):
        yield from map(chr, range(first, last))


def _strip(text: str, accents: str) -> str:
    if accents == "unicode":
        return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    if accents == "ascii":
        return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return text


@functools.cache
def character_changes(lower: bool, accents: str) -> Mapping[str, str]:
    """Return the characters that scikit-learn's preprocessing changes, and what into.

    Args:
        lower: Lower the case first.
        accents: "unicode", "ascii" or "". With "ascii" every other character beyond ASCII is removed; these are not
            in the result.
    """
    changes: dict[str, str] = {}
    for character in _characters():
        changed = _strip(character.lower() if lower else character, accents)
        if changed != character and not (accents == "ascii" and not changed):
            changes[character] = changed
    return changes


@functools.cache
def case_classes() -> Mapping[str, int]:
    """Return CASED or IGNORABLE for the characters that decide the lower case of a capital sigma.

    Python is asked what it does: a sigma after a cased character is final, ignorable characters are looked past.
    """
    classes: dict[str, int] = {}
    for character in _characters():
        if (character + SIGMA).lower().endswith(FINAL_SIGMA):
            classes[character] = CASED
        elif ("A" + character + SIGMA).lower().endswith(FINAL_SIGMA):
            classes[character] = IGNORABLE
    return classes


@functools.cache
def whitespace() -> tuple[str, ...]:
    """Return the characters that `\\s` matches and `str.split` splits at, the blank first."""
    found = [c for c in map(chr, range(0x10000)) if c.isspace()]
    return (" ", *(c for c in found if c != " "))
