"""The functions that users call.

Each converts one kind of model to an `onnx.ModelProto`. Argument names are those of skl2onnx, keras2onnx and tf2onnx,
and torch.onnx, so that moving over is a changed import line.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from any2onnx.errors import MissingDependency, NotAModel, UsageError

if TYPE_CHECKING:
    import onnx

    from any2onnx.operator_mappings.registry import Registry
    from any2onnx.parity import ParityReport

TargetOpset = int | Mapping[str, int] | None
Metadata = Mapping[str, Any]


def convert_sklearn(
    model: Any,
    name: str | None = None,
    initial_types: Sequence[tuple[str, Any]] | None = None,
    doc_string: str = "",
    target_opset: TargetOpset = None,
    custom_conversion_functions: Mapping[type, Callable[..., Any]] | None = None,
    custom_shape_calculators: Mapping[type, Callable[..., Any]] | None = None,
    custom_parsers: Mapping[type, Callable[..., Any]] | None = None,
    options: Mapping[Any, Any] | None = None,
    intermediate: bool = False,
    white_op: Sequence[str] | None = None,
    black_op: Sequence[str] | None = None,
    final_types: Sequence[tuple[str, Any]] | None = None,
    dtype: Any = None,
    naming: Any = None,
    model_optim: bool = True,
    verbose: int = 0,
    *,
    outputs: Sequence[str] | None = None,
    registry: Registry | None = None,
    output_path: str | Path | None = None,
    parity: str = "off",
    **finishing: Any,
) -> onnx.ModelProto:
    """Convert a fitted scikit-learn estimator or pipeline.

    Args:
        model: Fitted estimator.
        name: Name of the graph; the estimator's class by default.
        initial_types: (name, type) of each input, such as ``[("x", FloatTensorType([None, 4]))]``: one matrix, or one
            [None, 1] input per column. `to_onnx` takes them from a sample.
        doc_string: Of the model.
        target_opset: Version of ai.onnx, or ``{domain: version}``; 21 by default.
        custom_conversion_functions: Converters in skl2onnx's form, by class.
        custom_shape_calculators: Shape calculators in skl2onnx's form, by class.
        custom_parsers: Parsers in skl2onnx's form, by class.
        options: ``{class | id(estimator) | name: {option: value}}``: zipmap, nocl, raw_scores, return_std, ….
        intermediate: Not supported; `collect_intermediate_steps` does it.
        white_op: The only operators that the graph may use.
        black_op: Operators that the graph must not use.
        final_types: (name, type) of the outputs, to rename or cast them.
        dtype: Ignored with a warning, as skl2onnx does; the types say it.
        naming: Prefix of inner names, or a function of (name, set of names).
        model_optim: Run the graph passes.
        verbose: Ignored; logging is under the name ``any2onnx``.
        outputs: Inference methods to convert, such as ("predict", "decision_function"); they name the outputs.
        registry: Converters to use; the default ones and those registered by default.
        output_path: Write the model there.
        parity: "off", "smoke" or "full": compare with onnxruntime before returning; the result is kept in the
            model's metadata.
        finishing: producer_name, producer_version, model_version, domain, metadata, strip, external_data.

    Returns:
        The model. Outputs are ``label`` and ``probabilities`` for classifiers, ``variable`` for regressors and
        transformers, ``label`` and ``scores`` for clusterers and outlier detectors; or named by `outputs`.

    Raises:
        NotFitted: The estimator has not been fitted.
        UnsupportedOperator: Some estimators have no converter; the message names all.
        UnsupportedParameter: A parameter has a value that cannot be honoured.
        OpsetNotSupported: The model needs another opset.
        InvalidType: initial_types do not fit the model.
        ParityError: `parity` was asked for and does not hold.
    """
    if dtype is not None:
        warnings.warn("Parameter dtype is no longer supported.", DeprecationWarning, stacklevel=2)
    if initial_types is None and hasattr(model, "infer_initial_types"):
        # skl2onnx's OnnxOperatorMixin: the estimator says it itself.
        initial_types = model.infer_initial_types()
    if intermediate:
        raise UsageError("intermediate=True is not supported", remedy="collect_intermediate_steps(model, ...)")
    _need("sklearn", "scikit-learn", "sklearn")
    from any2onnx.conversion import finish_and_check, finishing_arguments
    from any2onnx.converters.skl2onnx_adapter import rows_from_functions
    from any2onnx.converters.sklearn.walk import build_sklearn
    from any2onnx.converters.sklearn.zipmap import zipmap_steps
    from any2onnx.graph.avoided import OperatorChoice
    from any2onnx.graph.opsets import Opsets
    from any2onnx.operator_mappings.user_layer import current_registry
    from any2onnx.options import Options

    rows = rows_from_functions(custom_conversion_functions, custom_shape_calculators, custom_parsers)
    chosen = registry or current_registry()
    choice = OperatorChoice(None if white_op is None else frozenset(white_op), frozenset(black_op or ()))
    built = build_sklearn(
        model,
        initial_types=initial_types,
        opsets=Opsets.of(target_opset),
        registry=chosen.extended(rows, name="call", override=True) if rows else chosen,
        options=Options(options),
        outputs=outputs,
        naming=naming,
        final_types=final_types,
        name=name or "",
        choice=choice,
    )
    if hasattr(model, "feature_names_in_"):
        built.metadata_props["any2onnx.features"] = json.dumps([str(column) for column in model.feature_names_in_])
    request = finishing_arguments("scikit-learn", name, doc_string, finishing, output_path, optimized=model_optim)
    return finish_and_check(
        model, built, request, parity, steps=zipmap_steps(built), allowed=white_op, forbidden=black_op, data=None
    )


def to_onnx(
    model: Any,
    X: Any = None,
    name: str | None = None,
    initial_types: Sequence[tuple[str, Any]] | None = None,
    target_opset: TargetOpset = None,
    options: Mapping[Any, Any] | None = None,
    white_op: Sequence[str] | None = None,
    black_op: Sequence[str] | None = None,
    final_types: Sequence[tuple[str, Any]] | None = None,
    dtype: Any = None,
    naming: Any = None,
    model_optim: bool = True,
    verbose: int = 0,
    **more: Any,
) -> onnx.ModelProto:
    """Convert a fitted scikit-learn model, taking the inputs' types and names from sample rows.

    Args:
        model: Fitted estimator, or one made by `wrap_as_onnx_mixin`.
        X: Sample rows: an array gives one input ``X``; a DataFrame (pandas, polars, arrow) one input per column.
            None where `initial_types` are given.
        name: See `convert_sklearn`, as for all other arguments.
        initial_types: See `convert_sklearn`.
        target_opset: See `convert_sklearn`.
        options: See `convert_sklearn`.
        white_op: See `convert_sklearn`.
        black_op: See `convert_sklearn`.
        final_types: See `convert_sklearn`.
        dtype: See `convert_sklearn`.
        naming: See `convert_sklearn`.
        model_optim: See `convert_sklearn`.
        verbose: See `convert_sklearn`.
        more: Keyword arguments of `convert_sklearn`.

    Raises:
        UsageError: Neither X nor initial_types.
    """
    if target_opset is None:
        # What `wrap_as_onnx_mixin` was told.
        target_opset = getattr(model, "op_version", None)
    if initial_types is None:
        if X is None and hasattr(model, "infer_initial_types"):
            initial_types = model.infer_initial_types()
        elif X is None:
            raise UsageError("to_onnx needs sample rows or initial_types", remedy="to_onnx(model, X[:1])")
        else:
            _need("sklearn", "scikit-learn", "sklearn")
            from any2onnx.converters.sklearn.walk import types_from_sample

            initial_types = types_from_sample(X, model)
    return convert_sklearn(
        model,
        name=name,
        initial_types=initial_types,
        target_opset=target_opset,
        options=options,
        white_op=white_op,
        black_op=black_op,
        final_types=final_types,
        dtype=dtype,
        naming=naming,
        model_optim=model_optim,
        verbose=verbose,
        **more,
    )


def convert_keras(
    model: Any,
    name: str | None = None,
    doc_string: str = "",
    target_opset: TargetOpset = None,
    initial_types: Sequence[Any] | None = None,
    channel_first_inputs: Sequence[str] | None = None,
    debug_mode: bool = False,
    custom_op_conversions: Mapping[Any, Callable[..., Any]] | None = None,
    *,
    input_signature: Any = None,
    opset: TargetOpset = None,
    custom_ops: Mapping[Any, Callable[..., Any]] | None = None,
    inputs_as_nchw: Sequence[str] | None = None,
    outputs_as_nchw: Sequence[str] | None = None,
    extra_opset: Any = None,
    compute_dtype: Any = None,
    options: Mapping[Any, Any] | None = None,
    registry: Registry | None = None,
    output_path: str | Path | None = None,
    parity: str = "off",
    **finishing: Any,
) -> onnx.ModelProto:
    """Convert a Keras 3 model, whatever its backend; TensorFlow is not needed.

    Args:
        model: Functional, Sequential or subclassed model, or a layer.
        name: Name of the graph; the model's name by default.
        doc_string: Of the model.
        target_opset: Version of ai.onnx, or ``{domain: version}``; 21 by default.
        initial_types: Types of the inputs where the model does not say them: (name, type) pairs, or, as tf2onnx's
            keras2onnx_api has them, names and types in turn or types alone.
        channel_first_inputs: Names of image inputs that the ONNX model takes as NCHW; as `inputs_as_nchw`.
        debug_mode: Ignored; logging is under the name ``any2onnx``.
        custom_op_conversions: Converters of layer classes: ``{class or its name: function(g, call)}``.
        input_signature: keras.InputSpec or KerasTensors of the inputs, for a subclassed model that was never called.
        opset: tf2onnx's name of `target_opset`.
        custom_ops: As `custom_op_conversions`.
        inputs_as_nchw: Names of inputs that the ONNX model takes as NCHW.
        outputs_as_nchw: Names of outputs that the ONNX model gives as NCHW.
        extra_opset: Further domains and their versions: {domain: version}, or OperatorSetIdProtos.
        compute_dtype: Compute in this dtype, for half-precision models on runtimes without such kernels.
        options: ``{class | name: {option: value}}``.
        registry: Converters to use; the default ones and those registered by default.
        output_path: Write the model there; weights go straight to the file.
        parity: "off", "smoke" or "full", see `convert_sklearn`.
        finishing: See `convert_sklearn`; and tf2onnx's and Keras's own: `opset_version`, `filepath`, `shape_override`,
            `large_model` (a data file for the weights); `verbose` and `optimizers` are ignored; `custom_op_handlers`,
            `custom_rewriter` and `target` are refused where they ask for anything.

    Returns:
        The model; inputs and outputs have the names that the Keras model gives them.

    Raises:
        NotFitted: The model has not been built.
        UnsupportedOperator: Some layers or functions have no converter; the message names all.
        ExportFailed: The model's `call` depends on data in a way that cannot be recorded.
    """
    _need("keras", "keras", "keras")
    from any2onnx.conversion import finish_and_check, finishing_arguments
    from any2onnx.converters.keras.drop_in import conversions, domains_of, types_of, without_peers
    from any2onnx.converters.keras.walk import build_keras
    from any2onnx.graph.opsets import Opsets
    from any2onnx.operator_mappings.user_layer import current_registry
    from any2onnx.options import Options

    finishing = without_peers(finishing)
    output_path = output_path or finishing.pop("filepath", None)
    wanted = next((v for v in (target_opset, opset, finishing.pop("opset_version", None)) if v is not None), None)
    types = types_of(input_signature, initial_types, finishing.pop("shape_override", None), model)
    chosen = registry or current_registry()
    rows = _keras_rows(conversions({**(custom_op_conversions or {}), **(custom_ops or {})}))
    built = build_keras(
        model,
        opsets=Opsets.of(_with_domains(wanted, domains_of(extra_opset))),
        registry=chosen.extended(rows, name="call", override=True) if rows else chosen,
        name=name or "",
        input_signature=types,
        inputs_as_nchw=[*(inputs_as_nchw or ()), *(channel_first_inputs or ())],
        outputs_as_nchw=list(outputs_as_nchw or ()),
        options=Options(options),
        compute_dtype=compute_dtype,
    )
    request = finishing_arguments("keras", name or getattr(model, "name", None), doc_string, finishing, output_path)
    return finish_and_check(model, built, request, parity)


def convert_pytorch(
    model: Any,
    args: Any = (),
    f: str | Path | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: TargetOpset = None,
    target_opset: TargetOpset = None,
    dynamic_shapes: Any = None,
    dynamic_axes: Any = None,
    custom_translation_table: Mapping[Any, Callable[..., Any]] | None = None,
    compute_dtype: Any = None,
    name: str | None = None,
    doc_string: str = "",
    optimize: bool = True,
    registry: Registry | None = None,
    external_data: bool | None = None,
    output_path: str | Path | None = None,
    parity: str = "off",
    **finishing: Any,
) -> onnx.ModelProto:
    """Convert a PyTorch module or exported program.

    Args:
        model: `torch.nn.Module` (converted in evaluation mode, and left as it was) or `torch.export.ExportedProgram`.
        args: Example inputs; a dict at the end holds keyword inputs, where `forward` has parameters of these names.
        f: torch.onnx's name of `output_path`.
        kwargs: Example keyword inputs.
        input_names: Names of the inputs; those of `forward` by default.
        output_names: Names of the outputs; ``output`` or ``output_0``, … by default.
        opset_version: torch.onnx's name of `target_opset`.
        target_opset: Version of ai.onnx, or ``{domain: version}``; 21 by default.
        dynamic_shapes: As torch.export takes them; a dim may be plain text, its name; by `input_names` as well.
        dynamic_axes: As the older torch.onnx takes them: ``{input: {axis: name}}`` or ``{input: [axes]}``.
        custom_translation_table: ``{operator overload: function}``; onnxscript functions or converters
            ``function(g, call)``.
        compute_dtype: Compute in this dtype, for bfloat16 and float16 models on runtimes without such kernels.
        name: Name of the graph; the module's class by default.
        doc_string: Of the model.
        optimize: Run the graph passes.
        registry: Converters to use; the default ones and those registered by default.
        external_data: Weights in a data file beside the model; by default where they are more than 16 MiB.
        output_path: Write the model there; the weights of a data file go straight to it and are never copied.
        parity: "off", "smoke" or "full", see `convert_sklearn`.
        finishing: See `convert_sklearn`; and torch.onnx's own: `verify` is ``parity="smoke"``, `custom_opsets` adds
            domains, what changes nothing is ignored, what is not done here is refused.

    Raises:
        ExportFailed: torch.export cannot trace the model; the message names the line.
        UnsupportedOperator: Some operators have no converter; the message names all.
    """
    _need("torch", "torch", "torch")
    from any2onnx.conversion import finish_and_check, finishing_arguments
    from any2onnx.converters.pytorch.torch_onnx import example_inputs, without_torch_onnx
    from any2onnx.converters.pytorch.walk import build_pytorch
    from any2onnx.graph.opsets import Opsets
    from any2onnx.io.limits import STREAMED_DATA_LIMIT
    from any2onnx.operator_mappings.user_layer import current_registry

    if finishing.pop("verify", False) and parity == "off":
        parity = "smoke"
    wanted = _with_domains(
        target_opset if target_opset is not None else opset_version, finishing.pop("custom_opsets", None)
    )
    finishing = without_torch_onnx(finishing)
    args, named = example_inputs(model, args, kwargs)
    built = build_pytorch(
        model,
        args,
        named,
        opsets=Opsets.of(wanted),
        registry=registry or current_registry(),
        dynamic_shapes=dynamic_shapes,
        dynamic_axes=dynamic_axes,
        input_names=input_names,
        output_names=output_names,
        custom_translation_table=custom_translation_table,
        compute_dtype=compute_dtype,
        name=name or type(model).__name__,
    )
    finishing = {"external_data_from": STREAMED_DATA_LIMIT, **finishing, "external_data": external_data}
    request = finishing_arguments("torch", name, doc_string, finishing, output_path or f, optimized=optimize)
    return finish_and_check(model, built, request, parity, data=args if args and not named else None)


def convert(model: Any, sample: Any = None, **arguments: Any) -> onnx.ModelProto:
    """Convert a model of any of the three frameworks.

    Args:
        model: scikit-learn estimator, Keras model, PyTorch module or exported program.
        sample: scikit-learn: sample rows; PyTorch: a tensor or tuple of example inputs; Keras: not needed.
        arguments: Keyword arguments of `to_onnx`, `convert_keras` or `convert_pytorch`.

    Raises:
        NotAModel: The object belongs to none of the frameworks.
    """
    framework = framework_of(model)
    if framework == "keras":
        return convert_keras(model, **arguments)
    if framework == "pytorch":
        return convert_pytorch(model, sample if isinstance(sample, tuple) else (sample,), **arguments)
    return to_onnx(model, sample, **arguments)


def framework_of(model: Any) -> str:
    """Return "sklearn", "keras" or "pytorch" for a model, by the classes that it derives from.

    Raises:
        NotAModel: None of them.
    """
    packages = {cls.__module__.partition(".")[0] for cls in type(model).__mro__}
    # Keras first: under its PyTorch backend a Keras model is a torch module as well.
    for package, framework in (("keras", "keras"), ("torch", "pytorch"), ("sklearn", "sklearn")):
        if package in packages:
            return framework
    # Their Boosters are no estimators, but predict like them.
    if packages & {"xgboost", "lightgbm", "catboost"} and hasattr(model, "predict"):
        return "sklearn"
    if hasattr(model, "get_params") and (hasattr(model, "predict") or hasattr(model, "transform")):
        return "sklearn"
    kind = "a class; it wants an instance" if isinstance(model, type) else f"of type {type(model).__qualname__}"
    raise NotAModel(
        f"the object is no model that any2onnx knows: it is {kind}",
        needs="a fitted scikit-learn estimator, a Keras 3 model or a PyTorch module",
    )


def check_parity(model: Any, onnx_model: Any, data: Any = None, **arguments: Any) -> ParityReport:
    """Compare a model with its ONNX form in onnxruntime; see `any2onnx.parity.check_parity`."""
    from any2onnx.parity import check_parity as check

    if arguments.get("prove") and "read_trees" not in arguments:
        from any2onnx.converters.sklearn.tree_source import ensemble_of_estimator

        arguments["read_trees"] = ensemble_of_estimator

    return check(model, onnx_model, data, **arguments)


def save_model(model: Any, path: str | Path, **arguments: Any) -> None:
    """Write a model atomically; see `any2onnx.io.save.save_model`."""
    from any2onnx.io.save import save_model as save

    save(model, path, **arguments)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _need(module: str, distribution: str, extra: str) -> None:
    import importlib.util

    if importlib.util.find_spec(module) is None:
        raise MissingDependency(f"{distribution} is not installed", remedy=f"pip install 'any2onnx[{extra}]'")


def _with_domains(target: TargetOpset, more: Mapping[str, int] | None) -> TargetOpset:
    if not more:
        return target
    versions = dict(target) if isinstance(target, Mapping) else {} if target is None else {"": target}
    return {**versions, **more}


def _keras_rows(functions: Mapping[Any, Callable[..., Any]]) -> list[Any]:
    from any2onnx.operator_mappings.mapping import OperatorMapping

    if not functions:
        return []
    from any2onnx.converters.keras.walk import key_of_class

    return [
        OperatorMapping(framework="keras", key=key if isinstance(key, str) else key_of_class(key), converter=function)
        for key, function in functions.items()
    ]
