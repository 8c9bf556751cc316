"""Texts as numbers of their characters: white space, words between blanks."""

from __future__ import annotations

from typing import Final

import numpy as np

from any2onnx.converters.sklearn.text_characters import whitespace
from any2onnx.converters.text.strings import compacted, flags
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value

# Numbers of characters: 0 for an unknown one, then white space with the blank first, then those of the vocabulary.
UNKNOWN: Final = 0
BLANK: Final = 1


def number(g: GraphBuilder, number: int) -> Value:
    """Return an int64 scalar."""
    return g.const(np.asarray(number, np.int64))


def space_masks(g: GraphBuilder, numbers: Value) -> tuple[Value, Value, Value, Value]:
    """Return where there is white space, and that of the position before and behind, and where there is a character."""
    present = g.GreaterOrEqual(numbers, number(g, UNKNOWN))
    space = g.And(g.GreaterOrEqual(numbers, number(g, BLANK)), g.LessOrEqual(numbers, number(g, len(whitespace()))))
    wide = g.Pad(flags(g, space), [0, 1, 0, 1])
    before = g.Cast(g.Slice(wide, [0], [-2], [1]), DataType.BOOL)
    behind = g.Cast(g.Slice(wide, [2], [np.iinfo(np.int64).max], [1]), DataType.BOOL)
    return space, before, behind, present


def collapsed(g: GraphBuilder, numbers: Value) -> Value:
    """Return characters with every run of white space as one blank; a single white space stays what it is."""
    space, before, behind, present = space_masks(g, numbers)
    again = g.And(space, before)
    in_run = g.And(space, g.Or(before, behind))
    value = g.Where(in_run, number(g, BLANK), numbers)
    return compacted(g, value, g.And(present, g.Not(again)), number(g, -1))


def padded_words(g: GraphBuilder, numbers: Value) -> Value:
    """Return the words, each between two blanks, with a mark between one word's blanks and the next one's."""
    space, _, _, present = space_masks(g, numbers)
    letter = g.And(present, g.Not(space))
    wide = g.Pad(flags(g, letter), [0, 1, 0, 1])
    before = g.Cast(g.Slice(wide, [0], [-2], [1]), DataType.BOOL)
    behind = g.Cast(g.Slice(wide, [2], [np.iinfo(np.int64).max], [1]), DataType.BOOL)
    starts, ends = g.And(letter, g.Not(before)), g.And(letter, g.Not(behind))
    axis = g.const(np.asarray(1, np.int64))
    # A word's first letter comes behind the mark and a blank, its last letter before a blank.
    ahead = g.Mul(g.CumSum(flags(g, starts), axis), number(g, 2))
    closed = g.Sub(g.CumSum(flags(g, ends), axis), flags(g, ends))
    position = g.Sub(g.Add(g.Add(g.CumSum(flags(g, letter), axis), ahead), closed), number(g, 1))
    rows, width = g.dim(numbers, 0), g.dim(numbers, 1)
    room_width = g.Add(g.Mul(width, np.asarray([3], np.int64)), np.asarray([3], np.int64))
    rest = g.Squeeze(g.Sub(room_width, np.asarray([1], np.int64)), 0)
    room = g.Expand(number(g, -1), g.shape_vector([rows, room_width]))
    blank = g.Expand(number(g, BLANK), g.Shape(numbers))
    result = g.op("ScatterElements", room, g.Where(letter, position, rest), numbers, axis=1)
    result = g.op("ScatterElements", result, g.Where(starts, g.Sub(position, number(g, 1)), rest), blank, axis=1)
    result = g.op("ScatterElements", result, g.Where(ends, g.Add(position, number(g, 1)), rest), blank, axis=1)
    return g.Slice(result, [0], [-1], [1])
