"""scikit-learn as reference: methods, the table or frame that they take, and the scores behind labels."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from any2onnx.errors import UnknownOption, UsageError, did_you_mean
from any2onnx.parity import boosters
from any2onnx.parity.labels import LabelScores
from any2onnx.parity.missing_text import Marks, missing_marks, put_back
from any2onnx.parity.reference import (
    Binding,
    Bound,
    Framework,
    FrameworkRejects,
    OutputRequest,
    Problem,
    declared_outputs,
)
from any2onnx.parity.runtime import OnnxFile, Port, one_sentence
from any2onnx.parity.sklearn_tables import (
    call_method,
    dense_arrays,
    estimator_kind,
    frame_of,
    has_float64,
    one_against_one,
    require_fitted,
    same_answers,
    separate,
    side_by_side,
    takes_vector,
    version,
    wide_table,
    widened,
    width_of,
)

if TYPE_CHECKING:
    from any2onnx.parity.intermediates import Intermediate
    from any2onnx.parity.signature import Feeds, Signature
    from any2onnx.parity.ulp import Array

METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "inverse_transform",
    "score_samples",
    "apply",
    "decision_path",
    "kneighbors",
)
_LABEL_NAMES = frozenset({"label", "labels", "output_label", "predict", "prediction", "predictions"})
_PROBA_NAMES = frozenset({"probabilities", "probability", "output_probability", "predict_proba"})
_SCORE_NAMES = frozenset({"scores", "score", "decision_function"})
_NUMBER: Final = re.compile(r"_\d+$")
_VALUE_NAMES = frozenset({"variable", "GPmean", "output", "transformed_column", "union", "transform", "transformed"})


class SklearnReference:
    """A fitted estimator or pipeline (also of packages that follow scikit-learn's interface)."""

    framework: Framework = "scikit-learn"
    row_wise = True
    conventional = True
    float64_problem = ""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.model_name = type(model).__name__
        self.version = version()
        self._bound: tuple[Bound, ...] = ()
        self._names: tuple[str, ...] = ()
        self._columns: list[str] | None = None
        self._template: Any = None
        self._missing: Marks = {}
        self._vector = takes_vector(model)
        self._wide: Any = None
        self._wide_does_not_help = False
        require_fitted(model)

    # --- inputs ---

    def declare(self, onnx_file: OnnxFile) -> None:
        """Take nothing: tables have one layout."""

    def refine(self, signature: Signature, data: Any) -> Signature:
        """Fix the width of a matrix, and remember the kind of DataFrame that the user passes."""
        from any2onnx.parity.boundaries import refine_signature

        self._template = data[:0] if hasattr(data, "columns") and hasattr(data, "shape") else None
        self._missing = {} if self._template is None else missing_marks(data)
        return refine_signature(self._model, signature, vector=self._vector)

    def prepare(self, signature: Signature) -> None:
        """Decide between a vector, a matrix and a DataFrame with the columns' names."""
        self._names = signature.names
        names = getattr(self._model, "feature_names_in_", None)
        width = getattr(self._model, "n_features_in_", None)
        given = sum(width_of(spec.shape) for spec in signature.inputs)
        if width is not None and not self._vector and given not in (width, 0) and not self._by_name(signature):
            raise UsageError(
                f"the ONNX model takes {given} columns, the estimator was fitted on {width}",
                where=signature.describe(),
                remedy="check that both come from the same fit",
            )
        self._columns = self._column_names(names, signature)

    def _by_name(self, signature: Signature) -> bool:
        from any2onnx.parity.boundaries import by_name

        return by_name(self._model, signature)

    def _column_names(self, names: Any, signature: Signature) -> list[str] | None:
        """Return the frame's column names in the order of the ONNX columns, or None for a plain matrix."""
        if names is None and self._template is None:
            return None
        if self._by_name(signature):
            return list(signature.names)
        known = [str(name) for name in (self._template.columns if names is None else names)]
        same = len(signature.inputs) > 1 and set(signature.names) == set(known)
        if len(known) != sum(width_of(spec.shape) for spec in signature.inputs):
            return None
        return list(signature.names) if same else known

    def accepts(self, feeds: Feeds) -> None:
        """Run the estimator's first inference method."""
        self._call(self._model, self._expected_methods()[0], self.table(feeds))

    def fixed_axes(self, signature: Signature) -> list[str]:
        """Return the inputs whose number of rows is fixed: estimators take any number."""
        return [
            f"the number of rows of {spec.name!r} is fixed at {spec.shape[0]}"
            for spec in signature.inputs
            if spec.shape and isinstance(spec.shape[0], int)
        ]

    def select(self, data: Any, signature: Signature) -> Any:
        """Return the columns of a DataFrame that the estimator was fitted on, in its order, without those not read."""
        fitted = getattr(self._model, "feature_names_in_", None)
        if fitted is None or not hasattr(data, "columns") or not hasattr(data, "shape"):
            return data
        wanted = [str(name) for name in fitted]
        if self._by_name(signature):
            wanted = [name for name in wanted if name in signature.names]
        return data[wanted] if set(wanted) <= {str(name) for name in data.columns} else data

    def table(self, feeds: Feeds) -> Any:
        """Return what the estimator's methods take, built from one array per ONNX input."""
        arrays = [feeds[name] for name in self._names]
        if self._vector and len(arrays) == 1:
            return arrays[0].reshape(-1)
        wide = [array[:, None] if array.ndim == 1 else array for array in arrays]
        if self._columns is None:
            return wide[0] if len(wide) == 1 else side_by_side(wide)
        columns = [array[:, i] for array in wide for i in range(array.shape[1])]
        named = put_back(dict(zip(self._columns, columns, strict=True)), self._missing)
        fitted = [str(name) for name in getattr(self._model, "feature_names_in_", ())]
        if set(named) <= set(fitted):
            named = {name: named[name] for name in fitted if name in named}
        return frame_of(named, self._template)

    # --- outputs ---

    def bind(self, ports: Sequence[Port], request: OutputRequest, onnx_file: OnnxFile, feeds: Feeds) -> Binding:
        """Tie methods to outputs: as asked for, as the file declares, or by the names that converters use."""
        declared = declared_outputs(onnx_file)
        if isinstance(request, Mapping):
            binding = self._bind_by_name(ports, request)
        elif request is not None:
            binding = self._bind_in_order(ports, [request] if isinstance(request, str) else list(request), named=False)
        elif declared is not None:
            binding = self._bind_in_order(ports, declared, named=True)
        else:
            binding = self._bind_by_convention(ports)
        self._bound = binding.bound
        return binding

    def _check_method(self, method: str) -> str:
        if not boosters.has_method(self._model, method):
            offered = [name for name in METHODS if boosters.has_method(self._model, name)]
            raise UnknownOption(
                f"{self.model_name} has no method {method!r}{did_you_mean(method, offered)}",
                needs=f"one of {', '.join(offered)}",
            )
        return method

    def _bind_by_name(self, ports: Sequence[Port], request: Mapping[str, str]) -> Binding:
        position = {port.name: i for i, port in enumerate(ports)}
        bound, problems = [], []
        for name, method in request.items():
            if name in position:
                bound.append(self._make(name, self._check_method(method), (position[name],)))
            else:
                problems.append(Problem(name, "the ONNX model has no such output"))
        problems += [Problem(port.name, "the output was not asked for") for port in ports if port.name not in request]
        return Binding(tuple(bound), tuple(problems))

    def _bind_in_order(self, ports: Sequence[Port], methods: Sequence[str], *, named: bool) -> Binding:
        bound, problems = [], []
        for i, method in enumerate(methods):
            self._check_method(method)
            if i >= len(ports):
                problems.append(Problem(method, "the ONNX model has no output for this method"))
                continue
            name = ports[i].name
            # One of several arrays of a method has its number behind the name.
            if (
                named
                and name not in self._usual_names(method)
                and _NUMBER.sub("", name) not in self._usual_names(method)
            ):
                usual = sorted(self._usual_names(method))
                problems.append(Problem(name, f"an output for {method} is called {' or '.join(usual)}"))
            # A method that returns a tuple fills as many outputs as it has arrays; the list names it once for each.
            leaf = methods[:i].count(method) if methods.count(method) > 1 else None
            bound.append(self._make(name, method, (i,), leaf))
        problems += [Problem(port.name, "no method stands behind this output") for port in ports[len(methods) :]]
        return Binding(tuple(bound), tuple(problems))

    def _bind_by_convention(self, ports: Sequence[Port]) -> Binding:
        needed = self._expected_methods()
        if self._is_spread(ports):
            spread = self._make(ports[1].name, needed[1], tuple(range(1, len(ports))))
            return Binding((self._make(ports[0].name, "predict", (0,)), spread), ())
        bound, problems = [], []
        for i, port in enumerate(ports):
            method = self._method_of(port.name)
            if method is None:
                problems.append(
                    Problem(
                        port.name, "no method has an output of this name; if it is meant, pass outputs={name: method}"
                    )
                )
                if i >= len(needed):
                    continue
                method = needed[i]
            bound.append(self._make(port.name, method, (i,)))
        found = {item.source for item in bound}
        scores = {"predict_proba", "decision_function", "predict_log_proba"}
        problems += [
            Problem(method, "the ONNX model has no output for this method")
            for method in needed
            if method not in found and not (method in scores and found & scores)
        ]
        return Binding(tuple(bound), tuple(problems))

    def _make(self, name: str, method: str, ports: tuple[int, ...], leaf: int | None = None) -> Bound:
        return Bound(name, method, ports, label=method == "predict" and self._kind() != "regressor", leaf=leaf)

    def _kind(self) -> str:
        return estimator_kind(self._model)

    def _expected_methods(self) -> list[str]:
        """Return the methods whose results a converted model offers by convention, in output order."""
        model = self._model
        kind = self._kind()
        if not hasattr(model, "predict"):
            # Transformers, and what only has scores or neighbours (KernelDensity, NearestNeighbors).
            return [next(method for method in ("transform", "score_samples", "kneighbors") if hasattr(model, method))]
        if kind == "transformer":
            return ["transform"]
        found = ["predict"]
        if kind in ("classifier", "density", "outlier"):
            order = ("decision_function",) if kind == "outlier" else ("predict_proba", "decision_function")
            found += [method for method in order if hasattr(model, method)][:1]
        if kind == "clusterer" and hasattr(model, "transform"):
            found.append("transform")
        return found

    def _method_of(self, name: str) -> str | None:
        model, kind = self._model, self._kind()
        found: str | None = None
        if name in METHODS:
            found = name
        elif name in _LABEL_NAMES and kind != "transformer":
            found = "predict"
        elif name in _PROBA_NAMES:
            found = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
        elif name in _SCORE_NAMES:
            order = ("decision_function", "score_samples" if kind == "density" else "transform", "score_samples")
            found = next((method for method in order if hasattr(model, method)), None)
        elif name in _VALUE_NAMES:
            found = "predict" if kind == "regressor" else "transform"
        return found if found is not None and boosters.has_method(model, found) else None

    def _usual_names(self, method: str) -> frozenset[str]:
        if method == "predict":
            return (_VALUE_NAMES if self._kind() == "regressor" else _LABEL_NAMES) | {"predict"}
        if method in ("predict_proba", "decision_function"):
            return _PROBA_NAMES | _SCORE_NAMES
        if method == "transform":
            return _VALUE_NAMES | (_SCORE_NAMES if self._kind() == "clusterer" else frozenset())
        return frozenset({method}) | (_SCORE_NAMES if method == "score_samples" else frozenset())

    def _is_spread(self, ports: Sequence[Port]) -> bool:
        """Tell whether the probabilities are spread over one output per class (zipmap='columns')."""
        classes = self.classes(0)
        if classes is None or len(ports) != len(classes) + 1 or len(classes) < 2:
            return False
        rest = ports[1:]
        return all(
            port.name.endswith(str(label)) and len(port.shape) <= 1 for port, label in zip(rest, classes, strict=True)
        )

    def run(self, feeds: Feeds) -> list[list[Array]]:
        """Run the bound methods on the feeds as they are."""
        return self._results(self._model, self.table(feeds))

    def run_float64(self, feeds: Feeds) -> list[list[Array]] | None:
        """Run the same methods of the same estimator on float64 rows.

        Estimators fitted on float32 rows may insist on float32, or answer in it whatever they are given: then on a
        copy whose arrays are float64.
        """
        table = self.table(feeds)
        if self._wide is None:
            try:
                results = self._results(self._model, table)
            except FrameworkRejects:
                self._wide = widened(self._model)
            else:
                return results if self._wide_does_not_help else self._wider(results, table)
        return self._results(self._wide, table)

    def _wider(self, results: list[list[Array]], table: Any) -> list[list[Array]]:
        """Return the answers of a copy with float64 arrays where the estimator itself answers in float32 only."""
        narrow = [array.dtype == np.float32 for group in results for array in group]
        if not any(narrow):
            return results
        twin = widened(self._model)
        try:
            found = self._results(twin, table)
        except Exception:
            # Whatever a widened estimator raises (a compiled search tree of float32, say): there is no such copy.
            found = results
        better = any(array.dtype == np.float64 for group in found for array in group if array.dtype.kind == "f")
        if found is results or not better or not same_answers(results, found):
            self._wide_does_not_help = True
            return results
        self._wide = twin
        return found

    def _results(self, model: Any, table: Any) -> list[list[Array]]:
        cache: dict[str, list[Array]] = {}
        found = []
        for bound in self._bound:
            if bound.source not in cache:
                columns = sum(other.source == bound.source and other.leaf is not None for other in self._bound)
                cache[bound.source] = separate(dense_arrays(self._call(model, bound.source, table)), columns)
            arrays = cache[bound.source]
            found.append(arrays if bound.leaf is None else arrays[bound.leaf : bound.leaf + 1])
        return found

    def _call(self, model: Any, method: str, table: Any) -> Any:
        try:
            return call_method(model, method, table)
        except Exception as error:
            # Some estimators fitted on float64 rows (KMeans and its kin) take float64 only: the same points then.
            wide = wide_table(table)
            if wide is not None:
                with contextlib.suppress(Exception):
                    return call_method(model, method, wide)
            raise FrameworkRejects(f"{method}: {one_sentence(error)}") from error

    # --- what stands behind labels ---

    def intermediates(self, feeds: Feeds, *, double: bool, finely: bool = False) -> list[Intermediate]:
        """Return the result of every pipeline step, and the scores of the last one."""
        from any2onnx.parity.intermediates import of_estimator

        model = self._wide if double and self._wide is not None else self._model
        return of_estimator(model, self.table(feeds), call_method)

    def rounded(self, feeds: Feeds, rng: np.random.Generator, units: int) -> list[list[Array]] | None:
        """Return nothing: scikit-learn computes in float64, so that rounding to float32 is the converter's choice."""
        return None

    def classes(self, leaf: int) -> Array | None:
        """Return ``classes_`` (of one output, when there are several), or None."""
        classes = getattr(self._model, "classes_", None)
        if classes is None:
            return None
        if isinstance(classes, list):
            return np.asarray(classes[leaf]) if leaf < len(classes) else None
        return np.asarray(classes)

    def label_scores(self, feeds: Feeds, columns: int) -> list[LabelScores]:
        """Return the scores whose order decides the labels, one entry per label column."""
        table = self.table(feeds)
        model = self._model if self._wide is None or not has_float64(feeds) else self._wide
        if hasattr(model, "best_threshold_"):
            return []
        if self._kind() == "clusterer" and hasattr(model, "transform"):
            distances = dense_arrays(self._call(model, "transform", table))[0]
            return [LabelScores("argmax", -distances, np.arange(distances.shape[1]))]
        voting = one_against_one(model)
        if voting is not None:
            pairs = dense_arrays(self._call(voting, "decision_function", table))[0]
            return [LabelScores("pairs", pairs, np.asarray(model.classes_))]
        for method, threshold in (("decision_function", 0.0), ("predict_proba", 0.5)):
            if boosters.has_method(model, method):
                return self._scored(dense_arrays(self._call(model, method, table)), threshold, columns)
        return []

    def ranked_scores(self, feeds: Feeds) -> list[LabelScores]:
        """Return minus the distances to all stored points, which decide the numbers of ``kneighbors``."""
        final, table = self._model, self.table(feeds)
        if hasattr(final, "steps"):
            for _, step in final.steps[:-1]:
                table = table if step is None or isinstance(step, str) else self._call(step, "transform", table)
            final = final.steps[-1][1]
        points = getattr(final, "_fit_X", None)
        if not hasattr(final, "kneighbors") or points is None:
            return []
        from sklearn.metrics import pairwise_distances

        metric, options = final.effective_metric_, dict(final.effective_metric_params_)
        # The same distances whatever dtype the rows come in; those by expansion round more than the search does.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            distances = pairwise_distances(np.asarray(table, np.float64), points, metric=metric, **options)
        return [LabelScores("ranked", -np.asarray(distances), np.arange(len(points)))]

    def _scored(self, arrays: list[Array], threshold: float, columns: int) -> list[LabelScores]:
        found = []
        for i, scores in enumerate(arrays):
            classes = self.classes(i)
            if scores.ndim == 1 or scores.shape[1] == 1:
                known = np.array([-1, 1]) if classes is None else classes
                found.append(LabelScores("threshold", scores.reshape(len(scores), 1), known, threshold))
            elif columns > 1 and len(arrays) == 1:
                # Several labels per row from one table: each column is a decision of its own.
                for column in range(scores.shape[1]):
                    part = scores[:, column : column + 1]
                    found.append(LabelScores("threshold", part, np.array([0, 1]), threshold))
            else:
                known = np.arange(scores.shape[1]) if classes is None else classes
                found.append(LabelScores("argmax", scores, known))
        return found
