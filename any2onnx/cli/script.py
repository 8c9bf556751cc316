"""`--gen-script`: the Python code that does what a command does."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from any2onnx.cli.calls import common_arguments
from any2onnx.cli.inputs import parse_inputs
from any2onnx.errors import UsageError

if TYPE_CHECKING:
    from any2onnx.cli.convert import Request

_READERS = {
    ".csv": ("import pandas as pd", "pd.read_csv({})"),
    ".parquet": ("import pandas as pd", "pd.read_parquet({})"),
    ".npy": ("import numpy as np", "np.load({}, allow_pickle=False)"),
    ".npz": ("import numpy as np", "dict(np.load({}, allow_pickle=False))"),
}
_FRAMEWORKS = {
    ".skops": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".joblib": "sklearn",
    ".cloudpickle": "sklearn",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".pt2": "pytorch",
    ".ts": "pytorch",
}


def script_for(request: Request) -> str:
    """Return a program equal to the command; every text of the command line appears as a Python literal.

    Raises:
        UsageError: The framework cannot be told from the suffix and was not given, or a PyTorch model has no
            ``--input``.
    """
    framework = request.framework or _FRAMEWORKS.get(request.model.suffix.lower())
    if framework is None:
        raise UsageError(
            f"the suffix {request.model.suffix!r} does not say the framework", remedy="--framework keras or pytorch"
        )
    imports = {"from any2onnx import check_parity, save_model", "from any2onnx.io import load"}
    body = [f"model = load({_load_arguments(request, imports)})"]
    sample = None
    if request.sample is not None:
        line, reader = _READERS.get(request.sample.suffix.lower(), ("", ""))
        if not line:
            raise UsageError(f"data cannot be read from {request.sample.name!r}", needs=".csv, .parquet, .npy or .npz")
        imports.add(line)
        sample = "rows"
        body.append(f"rows = {reader.format(repr(str(request.sample)))}")
    body += _convert_lines(request, framework, sample, imports)
    if request.parity != "off":
        suites = "default" if request.parity == "full" else ("data", "typical", "shape")
        data = f", {sample}" if sample else ""
        outputs = f", outputs={list(request.output_methods)!r}" if request.output_methods else ""
        body.append(f"report = check_parity(model, onnx_model{data}, suites={suites!r}{outputs})")
        body.append("print(report)")
        body.append("report.raise_if_failed()")
    else:
        imports.discard("from any2onnx import check_parity, save_model")
        imports.add("from any2onnx import save_model")
    extra = "" if request.external_data is None else f", external_data={request.external_data}"
    body.append(f"save_model(onnx_model, {str(request.output)!r}, overwrite={request.force}{extra})")
    text = "\n".join([*sorted(imports), "", *body]) + "\n"
    ast.parse(text)
    return text


def _load_arguments(request: Request, imports: set[str]) -> str:
    parts = [repr(str(request.model))]
    if request.trust is not None or request.trust_type:
        imports.discard("from any2onnx.io import load")
        imports.add("from any2onnx.io import Trust, load")
        if request.trust == "ask":
            raise UsageError("a script cannot ask", remedy="--trust sha256:HEX")
        trust = f"Trust.sha256({request.trust!r})" if request.trust else f"Trust.types({list(request.trust_type)!r})"
        parts.append(f"trust={trust}")
    if request.factory:
        parts.append(f"factory={request.factory!r}")
    if request.framework:
        parts.append(f"framework={request.framework!r}")
    return ", ".join(parts)


def _convert_lines(request: Request, framework: str, sample: str | None, imports: set[str]) -> list[str]:
    specs = parse_inputs(request.inputs)
    common: dict[str, Any] = common_arguments(request)
    common.pop("external_data", None)
    if request.output_methods:
        common["outputs"] = list(request.output_methods)
    keywords = [f"{key}={value!r}" for key, value in common.items()]
    if framework == "sklearn":
        if sample:
            imports.add("from any2onnx import to_onnx")
            return [f"onnx_model = to_onnx({', '.join(['model', f'{sample}[:5]', *keywords])})"]
        imports.add("from any2onnx import convert_sklearn")
        imports.add("from any2onnx.data_types import TENSOR_TYPES")
        if specs:
            types = ", ".join(f"({s.name!r}, TENSOR_TYPES[{s.dtype!r}]({_shape(s.shape)}))" for s in specs)
        else:
            types = "('X', TENSOR_TYPES['float32'](['batch', model.n_features_in_]))"
        return [f"onnx_model = convert_sklearn({', '.join(['model', f'initial_types=[{types}]', *keywords])})"]
    if framework == "keras":
        imports.add("from any2onnx import convert_keras")
        if specs:
            imports.add("import keras")
            signature = ", ".join(
                f"keras.InputSpec(shape={_shape(s.shape, names=False)}, dtype={s.dtype!r}, name={s.name!r})"
                for s in specs
            )
            keywords.insert(0, f"input_signature=[{signature}]")
        return [f"onnx_model = convert_keras({', '.join(['model', *keywords])})"]
    return _pytorch_lines(specs, sample, keywords, imports)


def _shape(shape: tuple[Any, ...] | None, *, names: bool = True) -> str:
    return repr(None if shape is None else [a if names or isinstance(a, int) else None for a in shape])


def _pytorch_lines(specs: Any, sample: str | None, keywords: list[str], imports: set[str]) -> list[str]:
    imports.update({"import torch", "from any2onnx import convert_pytorch"})
    lines: list[str] = []
    if specs:
        names = sorted({axis for spec in specs for axis in spec.shape or () if isinstance(axis, str)})
        lines += [f"{name} = torch.export.Dim({name!r})" for name in names]
        args = ", ".join(f"torch.ones({s.example_shape()!r}, dtype=torch.{s.dtype})" for s in specs)
        shapes = ", ".join(
            "{"
            + ", ".join(
                f"{i}: {axis or 'torch.export.Dim.DYNAMIC'}"
                for i, axis in enumerate(s.shape or ())
                if not isinstance(axis, int)
            )
            + "}"
            for s in specs
        )
        keywords = [f"input_names={[s.name for s in specs]!r}", *keywords]
    elif sample:
        lines.append("batch = torch.export.Dim('batch')")
        lines.append(f"arrays = list({sample}.values()) if isinstance({sample}, dict) else [{sample}]")
        args, shapes = "*(torch.from_numpy(array[:2]) for array in arrays)", "*({0: batch} for _ in arrays)"
    else:
        raise UsageError("a PyTorch model does not say its inputs", needs="--input or --sample")
    call = ", ".join(["model", f"({args},)", f"dynamic_shapes=({shapes},)", *keywords])
    return [*lines, f"onnx_model = convert_pytorch({call})"]
