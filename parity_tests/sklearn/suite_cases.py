"""The generated suite's cases: for every estimator its data sets, and every value of every parameter one by one."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Hidden, Options, StrOptions, make_constraint
from suite_parameters import COMPANIONS, METRIC_COMPANIONS, OWN, REFUSED, TOGETHER
from suite_values import BASE, COMMON, DATA, FLAG_METRICS, VALUES

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.user_layer import current_registry

# Rows of other packages have tests of their own, private classes occur inside others only.
ROWS = {
    row.key: row
    for row in current_registry().rows("sklearn")
    if row.key.startswith("sklearn.") and not row.key.rpartition(".")[2].startswith("_")
}

CLASSIFICATION = ("iris_names", "iris_two", "iris_bool", "iris_floats", "wine", "cancer", "digits")
UNSUPERVISED = ("wine", "digits")
# Data that an estimator is not for: it would be refused, or compute nothing.
UNFIT: dict[str, tuple[str, ...]] = {
    "CategoricalNB": CLASSIFICATION,
    "ClassifierChain": (*CLASSIFICATION, "sparse"),
    "FixedThresholdClassifier": ("iris_names", "iris_floats", "wine", "digits"),
    "TunedThresholdClassifierCV": ("iris_names", "iris_floats", "iris_two", "wine", "digits"),
    "LabelPropagation": ("iris_names", "iris_two", "iris_bool", "iris_floats"),
    "LabelSpreading": ("iris_names", "iris_two", "iris_bool", "iris_floats"),
    "SelfTrainingClassifier": ("iris_names", "iris_two", "iris_bool", "iris_floats"),
    "MultiOutputClassifier": CLASSIFICATION,
    "AdditiveChi2Sampler": ("wine", "sparse"),
    "MiniBatchNMF": ("wine", "sparse"),
    "MissingIndicator": ("wine", "digits", "sparse"),
    "NMF": ("wine", "sparse"),
    **dict.fromkeys(
        ("MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV"),
        ("few", "diabetes", "sparse"),
    ),
    "RANSACRegressor": ("sparse",),
    "MultiOutputRegressor": ("few", "diabetes", "sparse"),
    "OneVsRestClassifier": ("labels",),
    "RegressorChain": ("few", "diabetes", "sparse"),
    "PLSCanonical": ("few", "diabetes"),
    "PLSSVD": ("wine", "digits"),
    "QuadraticDiscriminantAnalysis": ("cancer", "digits"),
    "SkewedChi2Sampler": ("wine",),
    "SparseCoder": ("wine", "digits"),
    "VarianceThreshold": ("holes",),
    "RadiusNeighborsClassifier": ("iris_names", "iris_two", "iris_bool", "wine", "cancer", "digits"),
}
# Targets of another form; positive numbers; a kernel that is next to constant at an offset (NuSVC, gamma="scale").
NO_OFFSET = (
    *("PLSCanonical", "PLSSVD", "MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV"),
    *("FixedThresholdClassifier", "TunedThresholdClassifierCV", "ClassifierChain"),
    *("MultiOutputRegressor", "RegressorChain"),
    *("MiniBatchNMF", "NMF", "AdditiveChi2Sampler", "SkewedChi2Sampler", "ComplementNB", "MultinomialNB"),
    "NuSVC",
)
EXTRA_DATA: dict[str, tuple[str, ...]] = {
    "FixedThresholdClassifier": ("cancer",),
    "GaussianProcessRegressor": ("few",),
    "KBinsDiscretizer": ("diabetes",),
    "LabelBinarizer": ("class_numbers",),
    "LabelEncoder": ("class_numbers",),
    "MinMaxScaler": ("diabetes",),
    "MissingIndicator": ("holes_regression",),
    "SimpleImputer": ("holes_regression",),
    "KNNImputer": ("holes_regression",),
    "AdditiveChi2Sampler": ("counts",),
    "NMF": ("counts",),
    "MiniBatchNMF": ("counts",),
    "MultiOutputClassifier": ("bits",),
    "OneHotEncoder": ("codes",),
    "OrdinalEncoder": ("codes",),
    "TargetEncoder": ("codes",),
    "PLSRegression": ("linnerud", "few"),
    "RegressorChain": ("linnerud",),
}


@dataclass(frozen=True)
class SuiteCase:
    """One configuration of one estimator on one data set.

    Attributes:
        name: Of the test.
        key: Of the row.
        arguments: Constructor arguments.
        data: Name of the data set.
        parameters: Those that are given a value of their own.
        only: Methods to compare; None for all.
    """

    name: str
    key: str
    arguments: dict[str, Any]
    data: str
    parameters: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None

    def estimator(self) -> Any:
        """Return the estimator, not fitted, with sub-estimators of its own."""
        from sklearn.base import clone

        arguments = {name: _own(value) for name, value in self.arguments.items()}
        return (
            clone(class_of(self.key)(**arguments))
            if self.key != "sklearn.frozen.FrozenEstimator"
            else class_of(self.key)(**arguments)
        )


def _own(value: Any) -> Any:
    from sklearn.base import clone

    return clone(value) if hasattr(value, "get_params") and not isinstance(value, type) else value


def class_of(key: str) -> Any:
    """Return the class behind a key."""
    module, _, name = key.rpartition(".")
    return getattr(importlib.import_module(module), name)


def base_arguments(cls: type) -> dict[str, Any]:
    """Return the arguments of every case of a class."""
    names = inspect.signature(cls.__init__).parameters
    return {**{name: value for name, value in COMMON.items() if name in names}, **BASE.get(cls.__name__, {})}


def default_data(cls: type) -> str:
    """Return the data set of an estimator."""
    if cls.__name__ in DATA:
        return DATA[cls.__name__]
    return "diabetes" if get_tags(cls(**base_arguments(cls))).estimator_type == "regressor" else "iris"


_NUMERIC = ("iris", "diabetes", "targets", "positive", "few", "few_known", "holes", "bits", "iris_bool")


def more_data(cls: type) -> list[str]:
    """Return further data sets, by what scikit-learn says of the estimator."""
    tags = get_tags(cls(**base_arguments(cls)))
    found: list[str] = list(EXTRA_DATA.get(cls.__name__, ()))
    if default_data(cls) not in (
        "iris",
        "diabetes",
        "targets",
        "positive",
        "few",
        "few_known",
        "holes",
        "bits",
        "iris_bool",
    ):
        return found
    kind = tags.estimator_type
    if kind == "classifier":
        found += CLASSIFICATION
        found += ["labels"] * tags.target_tags.multi_output + ["bits"] * bool(tags.classifier_tags.multi_label)
    elif kind == "regressor":
        found += ["few", "diabetes"]
        found += ["targets", "linnerud"] * tags.target_tags.multi_output
    else:
        found += UNSUPERVISED
    found += ["holes_regression" if kind == "regressor" else "holes"] * tags.input_tags.allow_nan
    found += ["sparse"] * tags.input_tags.sparse
    if not (tags.input_tags.positive_only or cls.__name__ in NO_OFFSET):
        found += ["offset_regression" if kind == "regressor" else "offset"]
    own = default_data(cls)
    return [name for name in dict.fromkeys(found) if name != own and name not in UNFIT.get(cls.__name__, ())]


def alternatives(cls: type, parameter: str) -> list[Any]:
    """Return values of a parameter: those that scikit-learn lists, and ours."""
    own = OWN.get(cls.__name__, {}).get(parameter)
    found: list[Any] = list(own if own is not None else VALUES.get(parameter, []))
    allowed = getattr(cls, "_parameter_constraints", {}).get(parameter, [])
    if isinstance(allowed, list) and own is None:
        found = [value for value in found if _allowed(value, parameter, allowed)]
    # Scores only choose among fits.
    for constraint in allowed if isinstance(allowed, list) and parameter != "scoring" else []:
        if isinstance(constraint, Hidden):
            continue
        if isinstance(constraint, Options | StrOptions):
            deprecated = getattr(constraint, "deprecated", set())
            found += sorted((option for option in constraint.options if option not in deprecated), key=str)
        elif isinstance(constraint, str) and constraint == "boolean":
            found += [False, True]
    base = {name: p.default for name, p in inspect.signature(cls.__init__).parameters.items()}
    base.update(base_arguments(cls))
    unique: list[Any] = []
    refused = REFUSED.get(cls.__name__, {}).get(parameter, [])
    for value in found:
        if any(value is other or _equal(value, other) for other in refused):
            continue
        if (isinstance(value, dict) and parameter in value) or not _equal(value, base.get(parameter)):
            unique.append(value)
    return unique


def _allowed(value: Any, parameter: str, constraints: list[Any]) -> bool:
    plain = value[parameter] if isinstance(value, dict) and parameter in value else value
    return not constraints or any(make_constraint(c).is_satisfied_by(plain) for c in constraints)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    return type(a) is type(b) and bool(a == b)


@functools.cache
def cases(key: str) -> tuple[SuiteCase, ...]:
    """Return all cases of an estimator; the first one is the CI sample's."""
    cls, row = class_of(key), ROWS[key]
    base = base_arguments(cls)
    usual = default_data(cls)
    found = [SuiteCase(f"{cls.__name__}-{usual}", key, base, usual)]
    found += [SuiteCase(f"{cls.__name__}-{name}", key, base, name) for name in more_data(cls)]
    found += [
        SuiteCase(
            f"{cls.__name__}-row-{case.name}", key, dict(case.arguments), case.data or usual, tuple(case.arguments)
        )
        for case in row.cases
    ]
    for parameter in sorted(inspect.signature(cls.__init__).parameters):
        for value in alternatives(cls, parameter):
            found += _one_by_one(cls, key, row, base, usual, parameter, value)
    found += [
        SuiteCase(
            f"{cls.__name__}-{name}",
            key,
            {**base, **arguments},
            data,
            tuple(arguments),
            # No columns cannot be taken back.
            ("transform",) if name == "nothing-left" else None,
        )
        for name, arguments, data in TOGETHER.get(cls.__name__, [])
    ]
    named: dict[str, SuiteCase] = {}
    for case in found:
        named.setdefault(case.name, case)
    return tuple(named.values())


def case_arguments(key: str) -> list[str]:
    """Return the parameters that every case of an estimator needs, such as the estimators of an ensemble."""
    cls = class_of(key)
    names = inspect.signature(cls.__init__).parameters
    return [name for name in base_arguments(cls) if names[name].default is inspect.Parameter.empty]


def only_value(cls: type, parameter: str) -> bool:
    """Tell whether a parameter has no other value than its default, or is not there in this version."""
    if parameter not in inspect.signature(cls.__init__).parameters:
        return True
    allowed = getattr(cls, "_parameter_constraints", {}).get(parameter) or []
    options = [sorted(c.options, key=str) for c in allowed if isinstance(c, StrOptions)]
    return [len(o) for o in options] == [1] and inspect.signature(cls.__init__).parameters[
        parameter
    ].default in options[0]


def _one_by_one(
    cls: type, key: str, row: OperatorMapping, base: dict[str, Any], usual: str, parameter: str, value: Any
) -> list[SuiteCase]:
    together = isinstance(value, dict) and parameter in value
    companions = COMPANIONS.get(cls.__name__, {}).get(parameter, {})
    if parameter == "metric" and isinstance(value, str) and hasattr(cls, "_get_param_names"):
        companions = {**companions, **METRIC_COMPANIONS.get(value, {})}
        if cls.__name__ == "Isomap":
            # It takes one of radius and n_neighbors.
            companions.pop("radius", None)
    arguments = {**base, **companions, **(value if together else {parameter: value})}
    names = inspect.signature(cls.__init__).parameters
    arguments = {name: v for name, v in arguments.items() if name in names}
    label = value[parameter] if together else value
    name = f"{cls.__name__}-{parameter}={_label(label)}"
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in INVALID):
        return []
    # The density of the neighbours' neighbours hangs on ties, which flags are full of.
    only = ("kneighbors",) if cls.__name__ == "LocalOutlierFactor" and arguments.get("metric") in FLAG_METRICS else None
    found = [SuiteCase(name, key, arguments, _data_for(cls, usual, parameter, arguments), (parameter,), only)]
    possible = usual == "iris" and "iris_two" not in UNFIT.get(cls.__name__, ()) and found[0].data == "iris"
    if possible and parameter in row.honours - {"class_weight", "constant", "priors"} and hasattr(cls, "predict_proba"):
        found.append(SuiteCase(f"{name}-two", key, arguments, "iris_two", (parameter,)))
    return found


def _label(value: Any) -> str:
    text = getattr(value, "__name__", None) or str(value)
    return " ".join(text.split())[:60]


@dataclass(frozen=True)
class _Choice:
    """What the data of a case are chosen by."""

    name: str
    parameter: str
    given: dict[str, Any]
    usual: str

    @property
    def regressor(self) -> bool:
        return self.name.endswith("Regressor")

    @property
    def distances(self) -> bool:
        """The value is a metric between rows."""
        return self.parameter == "metric" and self.name not in ("FeatureAgglomeration", "KNNImputer")

    def has(self, parameter: str, *values: Any) -> bool:
        """Tell whether a parameter has one of these values."""
        return isinstance(self.given.get(parameter), str | int) and self.given[parameter] in values


# Data that fit a value; the first rule that holds.
_RULES: tuple[tuple[str, Callable[[_Choice], bool]], ...] = (
    ("unseen", lambda c: c.has("handle_unknown", "ignore", "infrequent_if_exist", "warn", "use_encoded_value")),
    ("categories_two", lambda c: c.has("target_type", "binary")),
    ("categories_three", lambda c: c.has("target_type", "multiclass")),
    ("sentinels", lambda c: c.has("missing_values", -1)),
    ("positive", lambda c: c.has("kernel", "chi2", "additive_chi2")),
    ("distances", lambda c: c.has("metric", "precomputed")),
    ("square", lambda c: c.has("kernel", "precomputed")),
    ("angles", lambda c: c.distances and c.has("metric", "haversine")),
    ("flags", lambda c: c.distances and c.given["metric"] in FLAG_METRICS),
    # Numbers on a grid are at equal distances, of which scikit-learn's search takes any.
    ("untied_regression", lambda c: c.distances and c.regressor and not c.name.startswith("Radius")),
    ("untied", lambda c: c.distances),
    ("untied_regression", lambda c: c.parameter == "p" and c.regressor),
    ("untied", lambda c: c.parameter == "p"),
    ("iris_two", lambda c: c.usual == "iris" and (c.has("solver", "liblinear") or c.has("loss", "exponential"))),
    ("column_inside", lambda c: c.has("out_of_bounds", "raise")),
    # Outside of its range scikit-learn raises, in degree 0 by an error in it.
    ("known_rows", lambda c: c.name == "SplineTransformer" and (c.has("extrapolation", "error") or c.has("degree", 0))),
    ("positive_regression", lambda c: c.has("loss", "poisson", "gamma") or c.has("criterion", "poisson")),
    ("positive", lambda c: c.has("method", "box-cox")),
    (
        "untied_regression",
        lambda c: (
            c.parameter in ("metric_params", "monotonic_cst", "interaction_cst")
            and c.regressor
            and not c.name.startswith(("Hist", "Radius"))
        ),
    ),
    ("iris_two", lambda c: c.parameter == "monotonic_cst" and not c.regressor),
    ("few", lambda c: c.parameter == "kernel" and c.name == "GaussianProcessRegressor"),
)


def _data_for(cls: type, usual: str, parameter: str, arguments: dict[str, Any]) -> str:
    """Return data that fits a value: kernels and losses for positive numbers, categories that are new, …"""
    choice = _Choice(cls.__name__, parameter, arguments, usual)
    return next((name for name, holds in _RULES if holds(choice)), usual)


# Values that scikit-learn itself refuses to be fitted with here.
INVALID = (
    "AffinityPropagation-affinity=precomputed",
    "*-cv=prefit",
    "*-prefit=True",
    "DummyClassifier-strategy=constant",
    "FeatureAgglomeration-metric=precomputed",
    "FeatureAgglomeration-metric=haversine",
    "FeatureAgglomeration-metric=mahalanobis",
    "FeatureAgglomeration-metric=nan_euclidean",
    "FeatureAgglomeration-metric=*minkowski",
    "*-metric=pyfunc",
    "Isomap-metric=wminkowski",
    *(f"Isomap-metric={metric}" for metric in sorted(FLAG_METRICS)),
    "Ridge*-solver=lbfgs",
    "*RandomProjection-n_components=auto",
    "LinearSVR-dual=False",
    "QuantileRegressor-solver=interior-point",
    "Nystroem-kernel=precomputed",
    "*NMF-init=custom",
    "NMF-beta_loss=itakura-saito",
    "MiniBatchNMF-beta_loss=itakura-saito",
    "QuadraticDiscriminantAnalysis-tol=*",
)

__all__ = ["INVALID", "ROWS", "SuiteCase", "case_arguments", "cases", "class_of", "only_value"]
