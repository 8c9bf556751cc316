"""What a Keras archive would build: every class and function that its config.json names, held against an allow-list.

Keras has its own ``safe_mode``; several ways around it became known (CVE-2025-1550, -8747, -9906, -12058), so this
check stands before it and does not rely on it.
"""

from __future__ import annotations

import re
from typing import Any

#: Modules whose public names are model parts and nothing else (not keras.utils, keras.config, keras.saving).
_PUBLIC = frozenset(
    f"keras.{name}"
    for name in (
        "activations",
        "constraints",
        "dtype_policies",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "models",
        "optimizers",
        "optimizers.schedules",
        "quantizers",
        "random",
        "regularizers",
    )
)
#: Names of the top-level module that a model's configuration may hold.
_TOP_LEVEL = frozenset(
    {
        "DTypePolicy",
        "FloatDTypePolicy",
        "Functional",
        "Initializer",
        "Input",
        "InputSpec",
        "Layer",
        "Loss",
        "Metric",
        "Model",
        "Operation",
        "Optimizer",
        "QuantizedDTypePolicy",
        "QuantizedFloat8DTypePolicy",
        "Quantizer",
        "Regularizer",
        "Sequential",
    }
)
#: Keras writes operations and backend optimizers under their private module.
_PRIVATE = re.compile(
    r"keras\.src\.(activations|constraints|dtype_policies|initializers|layers|losses|metrics|models|ops|optimizers"
    r"|quantizers|random|regularizers|backend\.[a-z0-9_]+\.optimizers|backend\.common\.keras_tensor)(\.[a-z0-9_]+)*"
)
#: Layers that run code from the file or from other files.
_CODE = frozenset({"Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"})
_VALUES = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"})


def code_in_config(config: Any) -> list[str]:
    """Return what in a parsed config.json could run code or read other files, sorted, each once; [] is safe.

    Lambda layers and pickled functions appear by their class name, custom objects as ``package>Name`` or
    ``module.Name``, a vocabulary that is a path as ``vocabulary file: …``.
    """
    found: set[str] = set()
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
            if "class_name" in item:
                finding = _finding(item)
                if finding is not None:
                    found.add(finding)
            for key in ("vocabulary", "idf_weights"):
                if isinstance(item.get(key), str):
                    found.add(f"{key} file: {item[key]}")
    return sorted(found)


def _finding(item: dict[str, Any]) -> str | None:
    """Return the name of what is not allowed in one object description, or None."""
    name, module, registered = item["class_name"], item.get("module"), item.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        return f"malformed class name {name!r}"
    if name in _VALUES:
        return None
    if name in _CODE or name in {"__lambda__", "__typespec__"}:
        return name
    if isinstance(registered, str) and ">" in registered:
        return registered
    if name == "function":
        function = item.get("config")
        if not isinstance(function, str) or ">" in function:
            return str(function)
        # Keras looks such a name up among its activations, losses and metrics only.
        return None if module == "builtins" or module in _PUBLIC else f"{module}.{function}"
    if module in _PUBLIC or (module == "keras" and name in _TOP_LEVEL):
        return None
    if module is not None and _PRIVATE.fullmatch(module):
        return None
    return f"{module}.{name}" if module else name
