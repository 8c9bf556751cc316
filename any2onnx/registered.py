"""Parity cases of everything that the registry can convert, built from the frameworks' own knowledge.

scikit-learn: the instances and tags of its own estimator checks; Keras: layers with arguments chosen by name and the
input rank that the layer asks for; PyTorch: the samples of its operator database. Nothing is listed by hand but what
those sources cannot say. Importing this imports no framework.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from any2onnx.errors import UnknownOption, did_you_mean
from any2onnx.registered_keras import CannotBuild, build_keras

if TYPE_CHECKING:
    from any2onnx.parity import ParityReport

__all__ = ["FRAMEWORKS", "CannotBuild", "ParityCase", "registered_cases"]
FRAMEWORKS = ("sklearn", "keras", "torch")


@dataclasses.dataclass(frozen=True)
class ParityCase:
    """One model to compare.

    Attributes:
        id: Part of a test's id: ``sklearn/StandardScaler``, ``sklearn/DecisionTreeClassifier[depth]``.
        build: Returns ``(model, onnx_model)`` or ``(model, onnx_model, data)``.
        arguments: Arguments of ``check_parity``.
    """

    id: str
    build: Callable[[], tuple[Any, ...]]
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def check(self, parity: Callable[..., ParityReport]) -> ParityReport:
        """Build the model and compare it with ``check_parity``, or with the pytest fixture ``parity``."""
        return parity(*self.build(), **self.arguments)


def registered_cases(framework: str | None = None, *, registry: Any = None) -> list[ParityCase]:
    """Return the cases of one framework or of all, in the order of the registry; nothing is built yet.

    Args:
        framework: ``sklearn``, ``keras`` or ``torch``.
        registry: A registry of operator mappings, the default one when left out.

    Raises:
        UnknownOption: There is no such framework.
        ImportError: torch is asked for and is not installed (its operators are listed by itself).
    """
    if framework is not None and framework not in FRAMEWORKS:
        raise UnknownOption(
            f"there is no framework {framework!r}{did_you_mean(framework, FRAMEWORKS)}", needs=", ".join(FRAMEWORKS)
        )
    if registry is None:
        from any2onnx.operator_mappings.registry import default_registry

        registry = default_registry()
    found: dict[str, ParityCase] = {}
    for name in FRAMEWORKS if framework is None else (framework,):
        for case in _CASES[name](registry):
            found.setdefault(case.id, case)
    return list(found.values())


# --- scikit-learn ------------------------------------------------------------------------------------------------


def _sklearn_cases(registry: Any) -> Iterator[ParityCase]:
    for row in registry.rows("sklearn"):
        module, _, name = row.key.rpartition(".")
        if row.refused or name.startswith("_"):
            continue
        yield ParityCase(f"sklearn/{name}", functools.partial(_build_sklearn, module, name, None))
        for case in row.cases:
            build = functools.partial(_build_sklearn, module, name, dict(case.arguments))
            yield ParityCase(f"sklearn/{name}[{case.name}]", build)


_EXPERIMENTAL = {
    "IterativeImputer": "enable_iterative_imputer",
    "HalvingGridSearchCV": "enable_halving_search_cv",
    "HalvingRandomSearchCV": "enable_halving_search_cv",
}


def _build_sklearn(module: str, name: str, arguments: dict[str, Any] | None) -> tuple[Any, ...]:
    """Return the first instance that can be converted: some default instances answer at random."""
    import warnings

    import any2onnx
    from any2onnx.errors import UnsupportedParameter

    refusal: UnsupportedParameter | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for estimator in _estimators(module, name, arguments):
            X, y, rows = _sklearn_data(estimator)
            groups = _GROUPS[name](len(X)) if name in _GROUPS else {}
            try:
                fitted = estimator.fit(X) if y is None else estimator.fit(X, y, **groups)
            except Exception as error:
                # Any class of exception: base classes of boosters want an objective.
                raise CannotBuild(f"it cannot be fitted here: {' '.join(str(error).split())[:160]}") from error
            try:
                return fitted, any2onnx.to_onnx(fitted, rows), rows
            except UnsupportedParameter as error:
                refusal = error
    assert refusal is not None
    raise refusal


def _estimators(module: str, name: str, arguments: dict[str, Any] | None) -> list[Any]:
    if name in _EXPERIMENTAL:
        importlib.import_module(f"sklearn.experimental.{_EXPERIMENTAL[name]}")
    try:
        cls = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise CannotBuild(f"{module.partition('.')[0]} is not installed") from error
    if arguments is not None:
        return [cls(**arguments)]
    from unittest import SkipTest

    from sklearn.utils._test_common.instance_generator import _construct_instances

    if name in _STEPS:
        return [_STEPS[name](cls)]
    if name.startswith("CatBoost"):
        return [cls(iterations=10, verbose=False, allow_writing_files=False)]  # it would leave files where it runs
    try:
        return list(_construct_instances(cls))
    except (SkipTest, TypeError) as error:
        raise CannotBuild(str(error)) from error


def _frozen(cls: Any) -> Any:
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    return cls(StandardScaler().fit(np.random.default_rng(0).normal(size=(40, 6))))


def _pipeline(cls: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    return cls([("scale", StandardScaler()), ("classify", LogisticRegression())])


def _quiet(cls: Any) -> Any:
    """Return an estimator of CatBoost that writes neither to the terminal nor into the working directory."""
    settings = {"iterations": 20, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    return cls(settings) if cls.__name__ == "CatBoost" else cls(**settings)


# What scikit-learn's own generator of instances leaves out, or cannot know.
_STEPS: dict[str, Callable[[Any], Any]] = {
    "FrozenEstimator": _frozen,
    "Pipeline": _pipeline,
    **dict.fromkeys(("CatBoost", "CatBoostClassifier", "CatBoostRanker", "CatBoostRegressor"), _quiet),
    **dict.fromkeys(("LGBMClassifier", "LGBMRanker", "LGBMRegressor"), lambda cls: cls(n_estimators=20, verbose=-1)),
    "LGBMModel": lambda cls: cls(objective="regression", verbose=-1),
}
# Rankers are fitted on rows in groups.
_GROUPS: dict[str, Callable[[int], dict[str, Any]]] = {
    "XGBRanker": lambda rows: {"qid": [0] * rows},
    "LGBMRanker": lambda rows: {"group": [rows]},
    "CatBoostRanker": lambda rows: {"group_id": [0] * rows},
}
_WORDS = ("red", "green", "blue", "green apple", "blue sea, blue sky", "a red rose is red")


def _sklearn_data(estimator: Any) -> tuple[Any, Any, Any]:
    """Return X and y to fit on and rows to compare on, as the estimator's tags ask for them."""
    import numpy as np
    from sklearn.utils import get_tags

    tags = get_tags(estimator)
    inputs, target = tags.input_tags, tags.target_tags
    rng = np.random.default_rng(0)
    # Within half a unit: near enough for neighbours within a radius, and in the domain of every kernel.
    X: Any = rng.uniform(-0.45, 0.45, (60, _width(estimator))).astype(np.float32)
    if inputs.string and not inputs.two_d_array:
        if "n_features" in estimator.get_params():
            estimator.set_params(n_features=64)  # a million columns by default
        words = [_WORDS[k] for k in rng.integers(0, len(_WORDS), 40)]
        return words, None, np.array(words[:20], dtype=object)
    if target.one_d_labels and not inputs.two_d_array:
        labels = rng.integers(0, 4, 40)
        return labels, None, labels[:20].astype(np.int64)
    if inputs.dict or target.two_d_labels or inputs.three_d_array:
        raise CannotBuild("its input is no table of numbers or texts")
    if inputs.positive_only:
        X = np.abs(X)
    if inputs.categorical:
        X = rng.integers(0, 4, X.shape)
    if inputs.pairwise:
        X = (X @ X.T).astype(np.float32)
    if inputs.one_d_array:
        X = X[:, :1]
    y = _sklearn_target(tags, X, rng)
    if inputs.allow_nan and not inputs.categorical and tags.estimator_type is None:
        X[::7, 1] = np.nan
    return (X[:, 0] if inputs.one_d_array and not inputs.two_d_array else X), y, X[:20]


def _width(estimator: Any) -> int:
    dictionary = estimator.get_params().get("dictionary")
    return 6 if dictionary is None else int(dictionary.shape[1])


def _sklearn_target(tags: Any, X: Any, rng: Any) -> Any:
    """Return classes or numbers that depend on the first and the last column."""
    import numpy as np

    score = X[:, 0] + 0.5 * X[:, -1]
    target = tags.target_tags
    if tags.estimator_type == "classifier":
        binary = not target.single_output or not (tags.classifier_tags and tags.classifier_tags.multi_class)
        y = np.digitize(score, np.quantile(score, [0.5] if binary else [0.33, 0.66]))
        return y if target.single_output else np.stack([y, np.roll(y, 7)], axis=1)
    y = score + 0.02 * rng.normal(size=len(X))
    if target.positive_only:
        y = np.abs(y) + 0.1
    if not target.single_output:
        return np.stack([y, y + X[:, 0]], axis=1)
    return y if tags.estimator_type == "regressor" else np.digitize(y, [0.0])


# --- Keras -------------------------------------------------------------------------------------------------------


def _keras_cases(registry: Any) -> Iterator[ParityCase]:
    for row in registry.rows("keras"):
        module, _, name = row.key.rpartition(".")
        if module == "keras.layers" and not row.refused:
            yield ParityCase(f"keras/{name}", functools.partial(build_keras, name))


# --- PyTorch -----------------------------------------------------------------------------------------------------


def _torch_cases(registry: Any) -> Iterator[ParityCase]:
    import torch

    known = {row.key for row in registry.rows("pytorch") if not row.refused}
    for op in operator_database():
        name = f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name
        aten = (op.aten_name or op.name).split(".")[-1]
        if torch.float32 in op.supported_dtypes("cpu") and any(key.split(".")[1] == aten for key in known):
            # Other inputs than the sample may break what the operator takes for granted (sorted boundaries, say).
            yield ParityCase(f"torch/{name}", functools.partial(_build_torch, op), {"suites": "data"})


def operator_database() -> list[Any]:
    """Return the entries of torch's operator database."""
    import importlib.machinery
    import importlib.util
    import sys
    import types
    import unittest
    import warnings

    if "expecttest" not in sys.modules and importlib.util.find_spec("expecttest") is None:
        # torch's operator database imports this helper of torch's own test suite, and needs nothing of it.
        stand_in = types.ModuleType("expecttest")
        stand_in.__spec__ = importlib.machinery.ModuleSpec("expecttest", None)
        stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
        sys.modules.setdefault("expecttest", stand_in)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return list(op_db)


def _build_torch(op: Any) -> tuple[Any, ...]:
    import torch
    from torch.utils import _pytree

    import any2onnx

    packet = getattr(torch.ops.aten, op.aten_name or op.name, None)
    overloads = [getattr(packet, name) for name in packet.overloads()] if packet is not None else []
    # rrelu carries no tag, and on some inputs the same noise again and again.
    if op.name.endswith("rrelu") or any(torch.Tag.nondeterministic_seeded in item.tags for item in overloads):
        raise CannotBuild("its answers are random")
    leaves, spec = _torch_sample(op)
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))

    class Bound(torch.nn.Module):
        """The operator with its other arguments bound."""

        def forward(self, *given: Any) -> Any:
            supply = iter(given)
            filled = [next(supply) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
            value, args, kwargs = _pytree.tree_unflatten(filled, spec)
            return op.op(value, *args, **kwargs)

    model = Bound()
    _require_same_answer(model, tensors)
    proto = any2onnx.convert_pytorch(model, tensors)
    return model, proto, {port.name: tensor for port, tensor in zip(proto.graph.input, tensors, strict=True)}


def _torch_sample(op: Any) -> tuple[list[Any], Any]:
    """Return the leaves and the structure of the first sample with numbers in all of its tensors."""
    import torch
    from torch.utils import _pytree

    torch.manual_seed(0)
    found = iter(op.sample_inputs("cpu", torch.float32, requires_grad=False))
    samples = list(itertools.islice(found, 20))
    # Left suspended, the generator would end whenever it is collected: gradients change in the middle of a trace.
    getattr(found, "close", lambda: None)()
    for sample in samples:
        leaves, spec = _pytree.tree_flatten((sample.input, tuple(sample.args), dict(sample.kwargs)))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if tensors and all(tensor.layout == torch.strided and tensor.numel() for tensor in tensors):
            return list(leaves), spec
    raise CannotBuild("its samples have no dense tensors with numbers")


def _require_same_answer(model: Any, tensors: tuple[Any, ...]) -> None:
    """Refuse operators that answer with whatever the memory holds."""
    import torch
    from torch.utils import _pytree

    answers = []
    for filler in (1.0, 2.0):
        waste = torch.full((4096,), filler)
        del waste
        given = tuple(tensor.clone() for tensor in tensors)
        answers.append([leaf for leaf in _pytree.tree_leaves(model(*given)) if isinstance(leaf, torch.Tensor)])
    for first, second in zip(*answers, strict=True):
        if first.shape != second.shape or not torch.equal(torch.nan_to_num(first), torch.nan_to_num(second)):
            raise CannotBuild("its answers differ from call to call")


_CASES: Mapping[str, Callable[[Any], Iterator[ParityCase]]] = {
    "sklearn": _sklearn_cases,
    "keras": _keras_cases,
    "torch": _torch_cases,
}
