"""A look at the whole estimator tree before conversion: fitted, supported, parameters that can be honoured."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.context import FRAMEWORK, Context, class_key, location
from any2onnx.converters.sklearn.support import Child
from any2onnx.errors import NotAModel, NotFitted, UnknownOption, UnsupportedOperator, UnsupportedParameter, did_you_mean
from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.registry import Needed, default_registry

# Results of a method beyond its first: predict(return_std=True), predict(return_cov=True).
PSEUDO_METHODS: Final = {"predict_std": "predict", "predict_cov": "predict"}
EVERYTHING: Final = "*"
FURTHER: Final = "**"
ALL_OUTPUTS: Final = "every output"
"""Method that stands for all that a converter in skl2onnx's form with a parser declares, under its own names."""


@dataclass(frozen=True, slots=True)
class Found:
    """An estimator in the tree.

    Attributes:
        estimator: Fitted.
        methods: That its parent calls.
        scope: Its path.
        final: Its results are the model's results.
    """

    estimator: Any
    methods: tuple[str, ...]
    scope: str
    final: bool


def scan(model: Any, methods: tuple[str, ...], context: Context) -> list[Found]:
    """Return every estimator that conversion will visit, in that order.

    Raises:
        NotFitted: One of them has not been fitted.
        UnsupportedOperator: Some have no row; the message names all.
        OpsetNotSupported: Some have a row for other opsets only.
        UnsupportedParameter: A parameter that no converter reads is not at its default.
        UnknownOption: A method that an estimator does not have.
    """
    found = list(_walk(Found(model, methods, "", True), context))
    needed = [Needed(context.key_of(type(f.estimator)), location(f.scope, f.estimator)) for f in found]
    context.registry.require(FRAMEWORK, needed, context.opset)
    for item in found:
        row = context.row(item.estimator)
        assert row is not None
        if item.methods != (ALL_OUTPUTS,):
            check_methods(item.estimator, item.methods, row, item.scope, context)
        audit_parameters(item.estimator, row, item.scope)
    return found


def every_estimator(model: Any, context: Context) -> Iterator[Any]:
    """Yield the estimators of a tree, as far as their converters are known.

    Raises:
        NotAModel: One of them is a class, or has nothing to infer with.
        NotFitted: One has not been fitted.
    """
    for found in _walk(Found(model, (), "", True), context):
        yield found.estimator


def _walk(item: Found, context: Context) -> Iterator[Found]:
    check_estimator(item.estimator, item.scope)
    yield item
    row = context.row(item.estimator)
    if row is None:
        return
    converter = row.converter_function()
    of = getattr(converter, "children", None)
    if of is None:
        return
    below: list[Child] = list(of(item.estimator, item.methods))
    for k, child in enumerate(below):
        scope = f"{item.scope}/{child.name}" if item.scope else child.name
        final = item.final and getattr(converter, "delegates", False) and k == len(below) - 1
        yield from _walk(Found(child.estimator, child.methods, scope, final), context)


def check_estimator(estimator: Any, scope: str = "") -> None:
    """Check that an object is a fitted estimator.

    Raises:
        NotAModel: It is a class, or has nothing to infer with.
        NotFitted: It has not been fitted.
    """
    where = location(scope, estimator) or None
    if isinstance(estimator, type):
        raise NotAModel(
            f"{estimator.__name__} is a class, not an estimator",
            where=where,
            remedy=f"fit {estimator.__name__}() first",
        )
    methods = ("predict", "transform", "fit_predict", "fit_transform", "score_samples", "kneighbors")
    if not any(hasattr(type(estimator), name) or hasattr(estimator, name) for name in methods):
        raise NotAModel(
            f"{type(estimator).__name__} is no estimator",
            where=where,
            needs="an object with predict or transform",
            remedy="convert_keras or convert_pytorch for models of other frameworks",
        )
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not _tells_whether_fitted(estimator):
        return
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise NotFitted(
            f"{type(estimator).__name__} has not been fitted", where=where, remedy="call fit() before converting"
        ) from error
    except TypeError:
        # An estimator by duck typing, without fit: there is nothing to ask it.
        return


def _tells_whether_fitted(estimator: Any) -> bool:
    """Tell whether scikit-learn's check means something: a user's own class may learn nothing that it could find.

    Pipelines and unions ask their parts, which are checked one by one.
    """
    if hasattr(estimator, "steps") or hasattr(estimator, "transformer_list"):
        return False
    return any(default_registry().knows(FRAMEWORK, class_key(base)) for base in type(estimator).__mro__)


def offered(estimator: Any, row: OperatorMapping, context: Context | None = None) -> list[str]:
    """Return the methods that both the fitted estimator and the row have.

    Args:
        estimator: Fitted.
        row: Its row.
        context: With it, a pipeline also has what its last step has.
    """
    return [name for name in row.methods if _has(estimator, name, row, context)]


def _has(estimator: Any, method: str, row: OperatorMapping, context: Context | None) -> bool:
    if hasattr(estimator, row.called.get(method) or PSEUDO_METHODS.get(method, method)):
        return True
    converter = row.converter_function() if context is not None else None
    if context is None or not getattr(converter, "delegates", False):
        return False
    below = list(converter.children(estimator, (method,)))  # type: ignore[union-attr]
    inner = context.row(below[-1].estimator) if below else None
    return inner is not None and method in inner.methods and _has(below[-1].estimator, method, inner, context)


def check_methods(estimator: Any, methods: tuple[str, ...], row: OperatorMapping, scope: str, context: Context) -> None:
    """Check that an estimator has the methods that are wanted.

    Raises:
        UnknownOption: It has not.
        UnsupportedOperator: It has, and its converter has not.
    """
    have = offered(estimator, row, context)
    for method in methods:
        if method not in have and _has(estimator, method, row, context):
            raise UnsupportedOperator(
                f"{type(estimator).__name__}.{method} has no ONNX mapping",
                where=location(scope, estimator),
                needs=f"one of {', '.join(have)}",
                remedy="register a converter of your own: docs/custom_converters.md",
            )
        if method not in have:
            raise UnknownOption(
                f"{type(estimator).__name__} offers no {method!r} here{did_you_mean(method, have)}",
                where=location(scope, estimator),
                needs=f"one of {', '.join(have)}",
            )


def audit_parameters(estimator: Any, row: OperatorMapping, scope: str) -> None:
    """Check that every parameter away from its default is one that the converter honours or may ignore.

    Raises:
        UnsupportedParameter: One is not.
    """
    if EVERYTHING in row.honours or not hasattr(estimator, "get_params"):
        return
    known = row.honours | row.irrelevant
    signature = _named_parameters(type(estimator))
    for name, value in sorted(estimator.get_params(deep=False).items()):
        if name in known or (FURTHER in row.honours and name not in signature):
            continue
        default = signature[name].default if name in signature else inspect.Parameter.empty
        if not _same(value, default):
            raise UnsupportedParameter(
                f"parameter {name}={value!r} of {type(estimator).__name__} is not known to its converter",
                where=location(scope, estimator),
                needs=f"{name}={default!r}" if default is not inspect.Parameter.empty else None,
            )


def _named_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor and, as far as it hands **kwargs on, of those that it inherits."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        own = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        found = {**own, **found}
        if not any(p.kind == inspect.Parameter.VAR_KEYWORD for p in own.values()):
            break
    return found


def _same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    if type(value) is not type(default):
        return False
    return bool(np.array_equal(value, default)) if isinstance(value, np.ndarray) else bool(value == default)
