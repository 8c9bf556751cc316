"""Inputs from the command line: ``--input x:float32[batch,3,224,224]``, sample files, ``--option key=value``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from any2onnx.errors import FileAccessError, InvalidType, MalformedFile, MissingDependency, UsageError, did_you_mean

_FORM = re.compile(r"(?P<name>[^:\[\]]+):(?P<dtype>[A-Za-z0-9]+)(?:\[(?P<dims>[^\[\]]*)\])?")
_ALIASES = {"float": "float32", "double": "float64", "half": "float16", "int": "int64", "str": "string"}
#: Size of a free axis in example inputs; torch.export takes 0 and 1 for constants.
EXAMPLE_SIZE = 2


@dataclass(frozen=True)
class InputSpec:
    """One ``--input``.

    Attributes:
        name: Of the input.
        dtype: float32, int64, string, …
        shape: A number, a name, or None for each axis; None as a whole leaves the shape open.
        examples: Example size of each named axis (``batch=4`` in the text).
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    examples: tuple[tuple[str, int], ...] = ()

    def example_shape(self) -> tuple[int, ...]:
        """Return a shape with numbers for the free axes."""
        sizes = dict(self.examples)
        return tuple(
            axis if isinstance(axis, int) else sizes.get(axis or "", EXAMPLE_SIZE) for axis in self.shape or ()
        )


def parse_input(text: str) -> InputSpec:
    """Read ``name:dtype[axis,axis,…]``; an axis is a number, a name, ``name=example size`` or ``?``.

    Raises:
        InvalidType: Another form, or a dtype that does not exist.
    """
    from any2onnx.data_types import TENSOR_TYPES

    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise InvalidType(
            f"--input {text!r} is not understood",
            needs="name:dtype[axis,…]",
            remedy="--input x:float32[batch,3,224,224]",
        )
    dtype = _ALIASES.get(match["dtype"], match["dtype"])
    if dtype not in TENSOR_TYPES:
        raise InvalidType(
            f"--input {text!r}: there is no dtype {match['dtype']!r}{did_you_mean(match['dtype'], TENSOR_TYPES)}",
            needs=f"one of {', '.join(TENSOR_TYPES)}",
        )
    if match["dims"] is None:
        return InputSpec(match["name"], dtype, None)
    shape: list[int | str | None] = []
    examples: list[tuple[str, int]] = []
    for axis in [part.strip() for part in match["dims"].split(",")] if match["dims"].strip() else []:
        name, equals, example = axis.partition("=")
        if axis.isascii() and axis.isdigit():
            shape.append(int(axis))
        elif axis in {"?", "None"}:
            shape.append(None)
        elif name.isidentifier() and (not equals or (example.isascii() and example.isdigit())):
            shape.append(name)
            if equals:
                examples.append((name, int(example)))
        else:
            raise InvalidType(
                f"--input {text!r}: {axis!r} is no axis", needs="a number, a name, name=example size, or ?"
            )
    return InputSpec(match["name"], dtype, tuple(shape), tuple(examples))


def parse_inputs(texts: Sequence[str]) -> list[InputSpec]:
    """Read every ``--input``.

    Raises:
        InvalidType: See `parse_input`.
        UsageError: A name occurs twice.
    """
    specs = [parse_input(text) for text in texts]
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--input {name!r} is given twice")
    return specs


def parse_pairs(texts: Sequence[str], flag: str, *, typed: bool) -> dict[str, Any]:
    """Read ``key=value`` texts.

    Args:
        texts: The arguments.
        flag: For messages.
        typed: Values are JSON where they can be read so (``true``, ``3``, ``"text"``), else texts.

    Raises:
        UsageError: No ``=``, an empty key, or a key that occurs twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{flag} {text!r} is not understood", needs="key=value")
        if key in found:
            raise UsageError(f"{flag} {key!r} is given twice")
        found[key] = _value(value) if typed else value
    return found


def _value(text: str) -> Any:
    if text in {"True", "False"}:
        return text == "True"
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_data(path: Path) -> Any:
    """Read rows from ``.csv``, ``.parquet`` (a pandas or polars DataFrame), ``.npy`` (an array) or ``.npz`` (a dict).

    Nothing pickled is read.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedFile: Its content is not what its suffix says.
        MissingDependency: Neither pandas nor polars is installed, for tables.
        UsageError: Another suffix.
    """
    import zipfile

    import numpy as np

    from any2onnx.io.atomic import file_errors
    from any2onnx.io.preflight import check_zip

    suffix = path.suffix.lower()
    if suffix not in {".csv", ".parquet", ".npy", ".npz"}:
        raise UsageError(f"data cannot be read from {path.name!r}", needs=".csv, .parquet, .npy or .npz")
    if not path.is_file():
        raise FileAccessError("cannot read the file: no such file", where=str(path), remedy="check the path")
    with file_errors(path, "read"):
        try:
            if suffix in {".csv", ".parquet"}:
                return _read_table(path, suffix)
            if suffix == ".npy":
                # Mapped first: a header that declares more than the file holds is refused before any allocation.
                return np.asarray(np.load(path, allow_pickle=False, mmap_mode="r"))
            with path.open("rb") as stream:
                check_zip(stream, str(path)).close()
                stream.seek(0)
                return dict(np.load(stream, allow_pickle=False))
        except (ValueError, EOFError, zipfile.BadZipFile, UnicodeDecodeError) as error:
            form = "without pickled objects" if suffix.startswith(".np") else "with named columns"
            raise MalformedFile(
                f"the data cannot be read: {' '.join(str(error).split())[:300]}",
                where=str(path),
                needs=f"a {suffix} file {form}",
            ) from error


def _read_table(path: Path, suffix: str) -> Any:
    from importlib.util import find_spec

    has_arrow = find_spec("pyarrow") is not None or find_spec("fastparquet") is not None
    if find_spec("pandas") is not None and (suffix == ".csv" or has_arrow or find_spec("polars") is None):
        import pandas as pd

        return pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    if find_spec("polars") is None:
        raise MissingDependency(f"{suffix} files need pandas or polars", remedy="pip install pandas")
    import polars as pl

    try:
        return pl.read_csv(path) if suffix == ".csv" else pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise ValueError(str(error)) from error


def rows_for_sklearn(model: Any, data: Any) -> Any:
    """Fit rows to what a scikit-learn model was trained on.

    A model trained on named columns gets these columns, in its order; other columns (the target, say) are left out. A
    model trained on a matrix gets one. Of the arrays of an .npz file the only one is taken, or the only table; or each
    array is a column, where the model knows their names.

    Raises:
        UsageError: Columns are absent, their number does not fit, or none of several arrays can be chosen.
    """
    if isinstance(data, dict):
        data = _table_of(model, data)
    if not hasattr(data, "columns"):
        return data
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        missing = [str(name) for name in names if name not in list(data.columns)]
        if missing:
            raise UsageError(
                f"the data have no column {missing[0]!r}{did_you_mean(missing[0], [str(c) for c in data.columns])}",
                needs=f"the columns that the model was trained on: {', '.join(map(str, names))}",
                others=missing[1:],
            )
        return data[list(names)]
    expected = getattr(model, "n_features_in_", None)
    if expected is not None and len(data.columns) != expected:
        raise UsageError(
            f"the data have {len(data.columns)} columns, the model was trained on {expected} without names",
            needs=f"exactly {expected} columns, in the order of training",
        )
    return data.to_numpy()


def _table_of(model: Any, arrays: dict[str, Any]) -> Any:
    """Choose among the arrays of an .npz file."""
    names = [str(name) for name in getattr(model, "feature_names_in_", ())]
    if names and all(name in arrays for name in names):
        import numpy as np
        import pandas as pd

        return pd.DataFrame({name: np.ravel(arrays[name]) for name in names})
    tables = list(arrays.values()) if len(arrays) == 1 else [a for a in arrays.values() if a.ndim == 2]
    if len(tables) == 1:
        return tables[0]
    raise UsageError(
        f"the .npz file has {len(arrays)} arrays ({', '.join(sorted(arrays))}), and which are the rows is not clear",
        needs="one table, or an array for each column that the model was trained on",
    )
