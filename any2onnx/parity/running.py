"""Runs of all sides on one case, a fixed batch cut into the pieces that the ONNX model takes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from any2onnx.parity.reference import FrameworkRejects, Reference
from any2onnx.parity.runtime import Leaf, OnnxSession, RuntimeFailure
from any2onnx.parity.sensitivity import Results, take_rows, to_float64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from any2onnx.parity.signature import Feeds, Signature
    from any2onnx.parity.ulp import Array


@dataclasses.dataclass(frozen=True)
class Sides:
    """The results of all sides on one case.

    Attributes:
        fw: The framework as run.
        ref: The framework in float64, or None.
        ox: onnxruntime as users run it.
        plain: onnxruntime without graph optimisations, or None.
        plain_error: What it raised, if it did.
    """

    fw: Results
    ref: Results | None
    ox: list[list[Leaf]]
    plain: list[list[Leaf]] | None = None
    plain_error: str = ""


class Runs:
    """The sides of one comparison.

    Args:
        runner: The framework's side.
        session: onnxruntime as users run it.
        plain: onnxruntime without graph optimisations, or None.
        signature: The inputs.
        double: Use the float64 reference; switched off when there proves to be none.
    """

    def __init__(
        self,
        runner: Reference,
        session: OnnxSession,
        plain: OnnxSession | None,
        signature: Signature,
        *,
        double: bool,
    ) -> None:
        self.runner = runner
        self.session = session
        self.plain = plain
        self.signature = signature
        self.double = double

    @property
    def row_wise(self) -> bool:
        """True when rows never influence each other."""
        return self.runner.row_wise

    def framework(self, feeds: Feeds, rows: int) -> Results:
        """Run the framework as the user does.

        Raises:
            FrameworkRejects: It raised.
        """
        found = self._in_pieces(self.runner.run, feeds, rows)
        # `run` always returns results; only the float64 copy may be missing.
        return found if found is not None else []

    def in_float64(self, feeds: Feeds, rows: int) -> Results | None:
        """Run the float64 reference on float64 feeds; None when it has no answer."""
        try:
            return self._in_pieces(self.runner.run_float64, feeds, rows)
        except FrameworkRejects:
            return None

    def reference(self, feeds: Feeds, rows: int) -> Results | None:
        """Run the float64 reference on the same points; None when there is none."""
        return self.in_float64(to_float64(feeds, self.signature), rows) if self.double else None

    def caller(self, rows: int, *, double: bool) -> Callable[[Feeds], Results | None]:
        """Return a function that runs one side and answers None where the framework rejects the input."""

        def call(feeds: Feeds) -> Results | None:
            if double:
                return self.in_float64(feeds, rows)
            try:
                return self.framework(feeds, rows)
            except FrameworkRejects:
                return None

        return call

    def rounded(self, feeds: Feeds, rows: int, rng: np.random.Generator, units: int) -> Results | None:
        """Run the framework with its intermediate results moved at random; None when it does not let that happen."""
        return self._in_pieces(lambda piece: self.runner.rounded(piece, rng, units), feeds, rows)

    def _in_pieces(self, run: Callable[[Feeds], Results | None], feeds: Feeds, rows: int) -> Results | None:
        fixed = self.signature.fixed_batch
        if fixed is None or self.row_wise or fixed == rows:
            return run(feeds)
        parts = []
        for piece in pieces(feeds, rows, fixed):
            part = run(piece)
            if part is None:
                return None
            parts.append(part)
        return [
            [join([part[i][j] for part in parts], rows, fixed) for j in range(len(group))]
            for i, group in enumerate(parts[0])
        ]

    def onnx(
        self, feeds: Feeds, rows: int, *, optimised: bool = True, session: OnnxSession | None = None
    ) -> list[list[Leaf]]:
        """Run onnxruntime, in one of the two sessions or a given one; for each output its arrays.

        Raises:
            RuntimeFailure: It raised.
        """
        if session is None:
            session = self.session if optimised or self.plain is None else self.plain
        fixed = self.signature.fixed_batch
        if fixed is None or fixed == rows:
            return session.run(feeds)
        parts = [session.run(piece) for piece in pieces(feeds, rows, fixed)]
        return [
            [
                dataclasses.replace(leaf, values=join([part[i][j].values for part in parts], rows, fixed))
                for j, leaf in enumerate(group)
            ]
            for i, group in enumerate(parts[0])
        ]

    def in_parts(self, feeds: Feeds, sizes: Sequence[int]) -> Sides:
        """Run every side on batches of several sizes, one after the other, and put the results together.

        Raises:
            FrameworkRejects: The framework raised.
            RuntimeFailure: onnxruntime raised with its usual optimisations.
        """
        ends = np.cumsum(sizes)
        parts = [
            self.all_sides(take_rows(feeds, np.arange(end - size, end)), size)
            for end, size in zip(ends.tolist(), sizes, strict=True)
        ]

        def joined(results: Sequence[Results]) -> Results:
            return [
                [_join_sizes([part[i][j] for part in results], sizes) for j in range(len(group))]
                for i, group in enumerate(results[0])
            ]

        def leaves(results: Sequence[list[list[Leaf]]]) -> list[list[Leaf]]:
            return [
                [
                    dataclasses.replace(leaf, values=_join_sizes([part[i][j].values for part in results], sizes))
                    for j, leaf in enumerate(group)
                ]
                for i, group in enumerate(results[0])
            ]

        refs = [part.ref for part in parts if part.ref is not None]
        plain = [part.plain for part in parts if part.plain is not None]
        return Sides(
            fw=joined([part.fw for part in parts]),
            ref=joined(refs) if len(refs) == len(parts) else None,
            ox=leaves([part.ox for part in parts]),
            plain=leaves(plain) if len(plain) == len(parts) else None,
            plain_error=next((part.plain_error for part in parts if part.plain_error), ""),
        )

    def all_sides(self, feeds: Feeds, rows: int) -> Sides:
        """Run every side.

        Raises:
            FrameworkRejects: The framework raised.
            RuntimeFailure: onnxruntime raised with its usual optimisations.
        """
        fw = self.framework(feeds, rows)
        ox = self.onnx(feeds, rows)
        plain: list[list[Leaf]] | None = None
        error = ""
        if self.plain is not None:
            try:
                plain = self.onnx(feeds, rows, optimised=False)
            except RuntimeFailure as failure:
                error = f"onnxruntime raises without graph optimisations: {failure}"
        return Sides(fw, self.reference(feeds, rows), ox, plain, error)


def pieces(feeds: Feeds, rows: int, size: int) -> list[Feeds]:
    """Cut a batch into batches of a fixed size, the last one filled up from the start."""
    starts = range(0, max(rows, 1), size)
    return [take_rows(feeds, (np.arange(start, start + size) % max(rows, 1)).astype(np.intp)) for start in starts]


def join(parts: Sequence[Array], rows: int, size: int) -> Array:
    """Put the results of pieces together: along the batch axis, or stacked where they have none."""
    if all(part.ndim and len(part) == size for part in parts):
        return np.concatenate(parts)[:rows]
    return np.stack(parts)


def _join_sizes(parts: Sequence[Array], sizes: Sequence[int]) -> Array:
    """Put results of batches of several sizes together: along the batch axis, or flat where they have none."""
    aligned = all(part.ndim and len(part) == size for part, size in zip(parts, sizes, strict=True))
    if aligned and len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    return np.concatenate([part.reshape(-1) for part in parts])
