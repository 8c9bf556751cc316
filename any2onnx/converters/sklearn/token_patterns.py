"""Python's regular expressions for tokens as expressions of RE2, which onnxruntime's tokenizer speaks.

Character classes are written out as the code points that Python itself puts into them, because RE2 reads ``\\w``,
``\\b``, ``\\d`` and ``\\s`` as ASCII and follows another version of Unicode. What cannot be translated exactly is
refused: the tokenizer takes the longest match, Python the first one, so quantified groups differ, and alternatives of
which a later one may match more than an earlier one.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from any2onnx.errors import UnsupportedParameter

Mask = np.ndarray[Any, np.dtype[np.bool_]]
_CODE_POINTS = 0x110000
_SURROGATES = slice(0xD800, 0xE000)
# RE2 takes no higher count in {m,n}.
_MOST_REPEATS = 1000


@dataclass(frozen=True, slots=True)
class TokenPattern:
    """How documents become tokens.

    Attributes:
        expression: RE2 expression whose matches, leftmost and longest, are the candidates.
        check: Python expression that a candidate has to match as a whole to be a token; None for any.
        check_expression: The same for RE2.
        has_blank: A token can contain a blank.
        separators: RE2 expressions of what stands between candidates, in place of `expression`; empty for none.
    """

    expression: str
    check: str | None
    check_expression: str | None
    has_blank: bool
    separators: tuple[str, ...] = ()


@functools.cache
def _category(expression: str, flags: int) -> Mask:
    """Return which code points a Python expression for one character matches."""
    text = "".join(map(chr, range(_CODE_POINTS)))
    found = re.findall(expression, text, flags | re.DOTALL)
    mask = np.zeros(_CODE_POINTS, bool)
    mask[np.frombuffer("".join(found).encode("utf-32-le", "surrogatepass"), np.uint32)] = True
    return mask


def class_expression(mask: Mask) -> str:
    """Return an RE2 class of exactly these code points."""
    inside = mask.copy()
    # Text in ONNX is UTF-8, which has no surrogates; without them neighbours join.
    inside[_SURROGATES] = inside[0xD7FF] and inside[0xE000]
    edges = np.flatnonzero(np.diff(np.concatenate(([False], inside, [False])).astype(np.int8)))
    if not len(edges):
        return r"[^\x{0}-\x{10ffff}]"
    pairs = edges.reshape(-1, 2)
    return "[" + "".join(_range(int(a), int(b) - 1) for a, b in pairs) + "]"


def _range(first: int, last: int) -> str:
    return f"\\x{{{first:x}}}" if first == last else f"\\x{{{first:x}}}-\\x{{{last:x}}}"


@dataclass(frozen=True, slots=True)
class _Atom:
    """One character class and how often it comes in a row; `most` is None for any number."""

    mask: Mask
    least: int
    most: int | None

    def expression(self) -> str:
        repeat = {(1, 1): "", (0, None): "*", (1, None): "+", (0, 1): "?"}.get((self.least, self.most))
        if repeat is None:
            repeat = f"{{{self.least},{'' if self.most is None else self.most}}}"
        return class_expression(self.mask) + repeat


def token_pattern(pattern: str, where: str | None = None) -> TokenPattern:
    """Translate a scikit-learn `token_pattern`.

    Raises:
        UnsupportedParameter: It has no exact form.
    """
    from re import _parser  # type: ignore[attr-defined]

    compiled = re.compile(pattern)
    if compiled.flags & (re.IGNORECASE | re.LOCALE | re.MULTILINE | re.VERBOSE):
        raise _refusal(pattern, "a flag (i, L, m, x)", where)
    alternatives = _alternatives(list(_parser.parse(pattern)))
    if len(alternatives) > 1:
        return _any_of(alternatives, compiled.flags, pattern, where)
    opening, closing, atoms = _sequence(alternatives[0], compiled.flags, pattern, where)
    has_blank = any(bool(atom.mask[ord(" ")]) for atom in atoms)
    expression = "".join(atom.expression() for atom in atoms)
    if not opening and not closing:
        _check_greedy(atoms, pattern, where)
        return TokenPattern(expression, None, None, has_blank)
    words = _category(r"\w", compiled.flags)
    if not (opening and closing) or any(bool((atom.mask & ~words).any()) for atom in atoms):
        raise _refusal(pattern, r"\b other than around word characters", where)
    # \bX\b with X of word characters only: a match is a whole run of word characters that X describes.
    if (run := _whole_runs(atoms, words)) is not None:
        return TokenPattern(run.expression(), None, None, has_blank)
    inner = pattern.removeprefix("(?u)").removeprefix("(?a)").removeprefix(r"\b").removesuffix(r"\b")
    flag = "(?a)" if compiled.flags & re.ASCII else ""
    return TokenPattern(_Atom(words, 1, None).expression(), flag + inner, expression, has_blank)


def _alternatives(items: list[Any]) -> list[list[Any]]:
    """Return the sequences of which a token is one, taken out of a group around everything."""
    while len(items) == 1 and str(items[0][0]) == "SUBPATTERN" and items[0][1][1:3] == (0, 0):
        # findall returns one capturing group, which is the match.
        items = list(items[0][1][3])
    if len(items) == 1 and str(items[0][0]) == "BRANCH":
        return [list(part) for part in items[0][1][1]]
    return [items]


def _sequence(items: list[Any], flags: int, pattern: str, where: str | None) -> tuple[bool, bool, list[_Atom]]:
    """Return whether a sequence begins and ends with \\b, and the character classes between."""
    opening, closing = _is_boundary(items[:1]), _is_boundary(items[-1:])
    body = items[int(opening) : len(items) - int(closing)]
    if len(body) == 1 and str(body[0][0]) == "SUBPATTERN" and body[0][1][1:3] == (0, 0):
        body = list(body[0][1][3])
    atoms = [_atom(item, flags, pattern, where) for item in body]
    if not any(atom.least for atom in atoms):
        raise _refusal(pattern, "a match of nothing", where)
    return opening, closing, atoms


def _whole_runs(atoms: list[_Atom], words: Mask) -> _Atom | None:
    """Return \\bX\\b as runs of at least so many word characters; None where X is something else."""
    if all(bool((atom.mask == words).all()) for atom in atoms) and any(atom.most is None for atom in atoms):
        return _Atom(words, sum(atom.least for atom in atoms), None)
    return None


def _any_of(alternatives: list[list[Any]], flags: int, pattern: str, where: str | None) -> TokenPattern:
    """Return alternatives of which, wherever two match, the earlier one matches at least as much as the later one.

    Raises:
        UnsupportedParameter: They may not.
    """
    words = _category(r"\w", flags)
    found: list[list[_Atom]] = []
    runs: list[bool] = []
    for items in alternatives:
        opening, closing, atoms = _sequence(items, flags, pattern, where)
        run = _whole_runs(atoms, words) if opening and closing else None
        if run is None and (opening or closing):
            raise _refusal(pattern, r"an alternative with \b other than around runs of \w", where)
        found.append([run] if run is not None else atoms)
        runs.append(run is not None)
        _check_greedy(found[-1], pattern, where)
    for k, later in enumerate(found):
        for earlier in found[:k]:
            most = None if any(atom.most is None for atom in later) else sum(atom.most or 0 for atom in later)
            least = sum(atom.least for atom in earlier)
            if bool((_first(earlier) & _first(later)).any()) and (most is None or most > least):
                raise _refusal(pattern, "alternatives of which a later one may match more than an earlier one", where)
    for k, is_run in enumerate(runs):
        others = [atom for n, atoms in enumerate(found) if n != k for atom in atoms]
        if is_run and any(bool((atom.mask & words).any()) for atom in others):
            # A run that is too short, or of which another one took a part, is no whole run any more.
            raise _refusal(pattern, r"\b in one of several alternatives with word characters", where)
    has_blank = any(bool(atom.mask[ord(" ")]) for atoms in found for atom in atoms)
    expression = "|".join("".join(atom.expression() for atom in atoms) for atoms in found)
    return TokenPattern(f"(?:{expression})", None, None, has_blank)


def _first(atoms: list[_Atom]) -> Mask:
    """Return the characters that a match can begin with."""
    mask = np.zeros(_CODE_POINTS, bool)
    for atom in atoms:
        mask |= atom.mask
        if atom.least:
            break
    return mask


def _is_boundary(items: list[Any]) -> bool:
    return len(items) == 1 and str(items[0][0]) == "AT" and str(items[0][1]) == "AT_BOUNDARY"


def _refusal(pattern: str, what: str, where: str | None) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"token_pattern={pattern!r} has {what}, which onnxruntime's tokenizer does not do as Python does",
        where=where,
        needs=r"character classes in a row with greedy counts, alternatives of these, or \b around word characters",
        remedy=r"""token_pattern=r"(?u)\b\w\w+\b" or r"[^,;]+" """.strip(),
    )


def _atom(item: Any, flags: int, pattern: str, where: str | None) -> _Atom:
    operator, argument = str(item[0]), item[1]
    if operator == "MAX_REPEAT":
        least, most, body = argument
        inner = list(body)
        while len(inner) == 1 and str(inner[0][0]) == "SUBPATTERN" and inner[0][1][0] is None:
            inner = list(inner[0][1][3])
        if len(inner) != 1:
            raise _refusal(pattern, "a quantified group", where)
        atom = _atom(inner[0], flags, pattern, where)
        if (atom.least, atom.most) != (1, 1):
            raise _refusal(pattern, "a quantifier of a quantifier", where)
        limit = None if str(most) == "MAXREPEAT" else int(most)
        if max(int(least), limit or 0) > _MOST_REPEATS:
            raise _refusal(pattern, f"a count above {_MOST_REPEATS}", where)
        return _Atom(atom.mask, int(least), limit)
    mask = _class_mask(operator, argument, flags)
    if mask is None:
        raise _refusal(pattern, f"the construct {operator.lower()}", where)
    return _Atom(mask, 1, 1)


_CATEGORIES = {
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
}


def _class_mask(operator: str, argument: Any, flags: int) -> Mask | None:
    """Return the code points of a class of Python's parser, None for anything else."""
    mask = np.zeros(_CODE_POINTS, bool)
    if operator == "ANY":
        mask[:] = True
        mask[ord("\n")] = bool(flags & re.DOTALL)
    elif operator == "LITERAL":
        mask[argument] = True
    elif operator == "NOT_LITERAL":
        mask[:] = True
        mask[argument] = False
    elif operator == "RANGE":
        mask[argument[0] : argument[1] + 1] = True
    elif operator == "CATEGORY" and str(argument) in _CATEGORIES:
        mask = _category(_CATEGORIES[str(argument)], flags & re.ASCII)
    elif operator == "IN":
        negated = str(argument[0][0]) == "NEGATE"
        for part in argument[1:] if negated else argument:
            found = _class_mask(str(part[0]), part[1], flags)
            if found is None:
                return None
            mask |= found
        mask = ~mask if negated else mask
    else:
        return None
    return mask


def _check_greedy(atoms: list[_Atom], pattern: str, where: str | None) -> None:
    """Refuse sequences whose greedy match need not be the longest.

    Where an atom may take fewer characters than it could, the longest match can be another one than Python's unless
    what follows cannot begin with the atom's characters.
    """
    for k, atom in enumerate(atoms[:-1]):
        if atom.least == atom.most:
            continue
        if any(bool((atom.mask & later.mask).any()) for later in atoms[k + 1 :]):
            raise _refusal(pattern, "classes that overlap behind a variable count", where)
