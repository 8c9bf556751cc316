"""Execution providers of onnxruntime: what is installed, what each runs of a model, and how each keeps full precision.

No provider gets a wider error budget than the CPU. Where one computes in less than the model's dtype by default (TF32
on NVIDIA GPUs, bfloat16 or float16 under OpenVINO), the comparison switches that off: a budget that excuses it would
hide errors a thousand times larger than float32's.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from any2onnx.errors import MalformedFile, MissingDependency, UsageError, did_you_mean

if TYPE_CHECKING:
    from any2onnx.parity.runtime import OnnxFile

CPU = "CPUExecutionProvider"

FLOAT32_OPTIONS: Mapping[str, Mapping[str, str]] = {
    # TF32 keeps 10 bits of the 23 of float32's significand in products.
    "CUDAExecutionProvider": {"use_tf32": "0"},
    # TensorRT may choose TF32 or, with a flag, float16; without the flag float16 is off.
    "TensorrtExecutionProvider": {"trt_fp16_enable": "0", "trt_bf16_enable": "0", "trt_int8_enable": "0"},
    # Its CPU plug-in computes float32 models in bfloat16 where the processor can, its GPU plug-in in float16.
    "OpenVINOExecutionProvider": {"precision": "ACCURACY"},
}
"""Options that make a provider compute in the model's own dtypes."""

PACKAGES: Mapping[str, str] = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "DmlExecutionProvider": "onnxruntime-directml",
    "MIGraphXExecutionProvider": "onnxruntime-migraphx",
    "QNNExecutionProvider": "onnxruntime-qnn",
}
"""Distributions that bring a provider."""


@dataclasses.dataclass(frozen=True)
class Provider:
    """One execution provider.

    Attributes:
        name: As onnxruntime calls it.
        installed: This onnxruntime can use it.
        kernels: Operators with a kernel of its own (counted once), 0 where it compiles whole sub-graphs instead.
        devices: Devices that it reports.
        options: What a comparison sets.
    """

    name: str
    installed: bool
    kernels: int = 0
    devices: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where nodes of a model run when a provider is asked for.

    Attributes:
        provider: The provider that was asked for, with the CPU behind it.
        nodes: ``(provider, domain and operator, number of nodes)``, sorted; empty when it is not known.
        problem: Why nothing is known.
    """

    provider: str
    nodes: tuple[tuple[str, str, int], ...] = ()
    problem: str = ""

    def count(self, *, own: bool) -> int:
        """Return the number of nodes that the provider runs itself, or that fall back to another one."""
        return sum(number for name, _, number in self.nodes if (name == self.provider) == own)

    def fallbacks(self) -> tuple[tuple[str, int], ...]:
        """Return the operators that fall back, with their numbers."""
        return tuple((operator, number) for name, operator, number in self.nodes if name != self.provider)


def discover() -> list[Provider]:
    """Return every provider that onnxruntime knows of: installed ones first, in onnxruntime's order.

    Raises:
        MissingDependency: onnxruntime is not installed.
    """
    onnxruntime = _onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kernels: dict[str, set[tuple[str, str]]] = {}
    for kernel in state.get_all_opkernel_def():
        kernels.setdefault(kernel.provider, set()).add((kernel.domain, kernel.op_name))
    devices = _devices(onnxruntime)
    available = onnxruntime.get_available_providers()
    names = [*available, *(name for name in onnxruntime.get_all_providers() if name not in available)]
    return [
        Provider(
            name,
            name in available,
            len(kernels.get(name, ())),
            tuple(devices.get(name, ())),
            tuple(sorted(FLOAT32_OPTIONS.get(name, {}).items())),
        )
        for name in names
    ]


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            "execution providers need onnxruntime", remedy="pip install 'any2onnx[parity]'"
        ) from error
    return onnxruntime


def _devices(onnxruntime: Any) -> dict[str, list[str]]:
    """Return the devices by provider; onnxruntime before 1.23 does not report them."""
    found: dict[str, list[str]] = {}
    for item in getattr(onnxruntime, "get_ep_devices", list)():
        kind = str(item.device.type).rpartition(".")[2]
        found.setdefault(item.ep_name, []).append(f"{kind} {item.device.vendor}".strip())
    return found


def resolved(providers: Sequence[Any] | None) -> list[Any]:
    """Return providers as a session takes them: installed ones only, set to compute in the model's dtypes.

    onnxruntime itself goes on with what is left when a provider is missing, so that a check of the GPU would silently
    be one of the CPU.

    Args:
        providers: Names, or pairs of name and options, in order of preference; None for the CPU. Options that are
            given win over those set here.

    Raises:
        UsageError: A provider is not installed.
    """
    if not providers:
        return [CPU]
    available = _onnxruntime().get_available_providers()
    found: list[Any] = []
    for item in providers:
        name, options = item if isinstance(item, tuple) else (item, {})
        if name not in available:
            package = PACKAGES.get(name)
            raise UsageError(
                f"the execution provider {name!r} is not installed{did_you_mean(str(name), available)}",
                needs=f"one of {', '.join(available)}",
                remedy=f"pip install {package}" if package else None,
            )
        merged = {**FLOAT32_OPTIONS.get(name, {}), **options}
        found.append((name, merged) if merged else name)
    return found


def placement(model: OnnxFile, provider: Any) -> Placement:
    """Ask onnxruntime which nodes of a model a provider would run, and which fall back; nothing is run.

    The nodes are those of the file: graph optimisations are off, so that names and counts are the file's own.

    Raises:
        UsageError: The provider is not installed.
    """
    onnxruntime = _onnxruntime()
    chosen = resolved([provider])
    name = chosen[0][0] if isinstance(chosen[0], tuple) else chosen[0]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = onnxruntime.InferenceSession(model.payload, options, providers=chosen)
    except Exception as error:
        # onnxruntime's exceptions share no public base class but Exception.
        from any2onnx.parity.runtime import one_line

        raise MalformedFile(f"onnxruntime refuses the model on {name}", where=one_line(error)) from error
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return Placement(name, problem=f"onnxruntime {onnxruntime.__version__} does not say which node runs where")
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for graph in session.get_provider_graph_assignment_info():
        for node in graph.get_nodes():
            operator = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
            counts[graph.ep_name, operator] += 1
    return Placement(name, tuple((owner, operator, number) for (owner, operator), number in sorted(counts.items())))
