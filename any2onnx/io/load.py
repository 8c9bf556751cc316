"""Load a model from a file, trusting it no more than the caller says.

Content decides what a file is and must agree with its suffix; there is one loader for each kind and no fall-back to
another. Data-only formats load by default; what can run code is refused until `Trust` names the file or the types.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from any2onnx.errors import (
    FileAccessError,
    MalformedFile,
    MissingDependency,
    NotAModel,
    UntrustedFile,
    UsageError,
    did_you_mean,
)
from any2onnx.io.atomic import file_errors
from any2onnx.io.factory import build, fill_from_keras_weights, fill_from_safetensors, fill_torch, framework_of
from any2onnx.io.keras_config import code_in_config
from any2onnx.io.limits import DEFAULT_LIMITS
from any2onnx.io.load_onnx import load_onnx
from any2onnx.io.pickles import PickleListing, list_pickle, open_compressed
from any2onnx.io.preflight import check_hdf5, check_json, check_zip, open_member, read_member
from any2onnx.io.skops_types import AUDITED
from any2onnx.io.sniff import Kind, check_kind
from any2onnx.io.trust import NO_TRUST, Trust, digest_of

FRAMEWORKS = ("sklearn", "keras", "pytorch", "onnx")


@dataclass(frozen=True)
class _Request:
    """One call of `load`: the file, open, and what the caller allows."""

    path: Path
    stream: BinaryIO
    trust: Trust
    factory: str | Callable[[], Any] | None

    @property
    def where(self) -> str:
        return str(self.path)


def load(
    path: str | os.PathLike[str],
    *,
    trust: Trust | None = None,
    factory: str | Callable[[], Any] | None = None,
    framework: str | None = None,
) -> Any:
    """Load a model.

    Args:
        path: ``.onnx``, ``.skops``, ``.keras``; weights with a ``factory``: ``.safetensors``, ``.pt``, ``.pth``,
            ``.weights.h5``; with trust ``.pkl``, ``.pickle``, ``.joblib``, ``.cloudpickle``, ``.h5``, ``.pt2``,
            ``.ts``.
        trust: What the file may do; None: nothing but data.
        factory: ``"module:function"`` or a callable without arguments that builds the model for a file of weights.
        framework: ``"sklearn"``, ``"keras"``, ``"pytorch"`` or ``"onnx"``: what the result must be.

    Returns:
        A scikit-learn estimator, Keras model (not compiled: for inference), torch module (or exported program), or for
        ``.onnx`` what `any2onnx.io.load_onnx` returns.

    Raises:
        UntrustedFile: The file could run code and the trust does not cover it; the message gives its SHA-256 and what
            it would import.
        MalformedFile: Damaged, beyond a limit, or not what its suffix says.
        FileAccessError: It cannot be read.
        UsageError: Wrong arguments.
        MissingDependency: The framework or a helper is not installed.
        NotAModel: The file holds no model, or one of another framework.
    """
    source = Path(path)
    if framework is not None and framework not in FRAMEWORKS:
        raise UsageError(
            f"unknown framework {framework!r}{did_you_mean(framework, FRAMEWORKS)}", needs=f"one of {FRAMEWORKS}"
        )
    if source.is_dir():
        raise FileAccessError("a folder is no model file", where=str(source), needs="a file")
    with file_errors(source, "read"), source.open("rb") as stream:
        kind = check_kind(source, stream)
        request = _Request(source, stream, trust if trust is not None else NO_TRUST, factory)
        if request.trust.digest is not None:
            request.trust.check_digest(digest_of(stream), request.where)
        if factory is not None and kind not in _TAKES_FACTORY:
            raise UsageError(f"a {kind} brings its own architecture; it takes no factory", where=request.where)
        stream.seek(0)
        model = _LOADERS[kind](request)
    found = framework_of(model)
    if found is None or (framework is not None and found != framework):
        raise NotAModel(
            f"the file holds {type(model).__module__}.{type(model).__qualname__}",
            where=str(source),
            needs=f"a model of {framework or ', '.join(FRAMEWORKS)}",
        )
    return model


def _load_onnx(request: _Request) -> Any:
    return load_onnx(request.path)


def _load_skops(request: _Request) -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise MissingDependency(".skops files need skops", remedy="pip install 'any2onnx[safe]'") from error
    with check_zip(request.stream, request.where) as archive:
        check_json(
            read_member(archive, "schema.json", request.where, DEFAULT_LIMITS.json_bytes), "schema.json", request.where
        )
    # Read once: what is audited is what is loaded.
    request.stream.seek(0)
    data = request.stream.read()
    with _damaged(request, "skops"):
        unknown = sorted(skops.io.get_untrusted_types(data=data))
    trust = request.trust
    allowed = AUDITED | trust.type_names
    refused = [] if trust.everything or trust.digest else [name for name in unknown if name not in allowed]
    if refused:
        flags = " ".join(f"--trust-type {name}" for name in refused)
        raise UntrustedFile(
            f"the file would build types that are not known to be safe: {', '.join(refused)}",
            where=request.where,
            needs="trust in each of them",
            remedy=f"look at them, then Trust.types({refused!r}) or {flags}",
        )
    with _damaged(request, "skops"):
        return skops.io.loads(data, trusted=unknown)


def _load_keras(request: _Request) -> Any:
    keras = _import_keras()
    where = request.where
    with check_zip(request.stream, where) as archive:
        config = check_json(read_member(archive, "config.json", where, DEFAULT_LIMITS.json_bytes), "config.json", where)
        if isinstance(config, dict):
            config.pop("compile_config", None)  # not loaded: losses and optimizers have no part in inference
        code = code_in_config(config)
        for entry in archive.infolist():
            if entry.filename.endswith(".h5"):
                member = open_member(request.stream, archive, entry.filename, where, DEFAULT_LIMITS.zip_total)
                check_hdf5(member, entry.file_size, f"{where}, {entry.filename}")
    trusted = request.trust.everything or request.trust.digest is not None
    refused = [] if trusted else [name for name in code if name not in request.trust.type_names]
    if refused:
        digest = digest_of(request.stream)
        raise UntrustedFile(
            f"the archive holds custom objects or code: {', '.join(refused)}",
            where=where,
            needs=f"trust in the file (SHA-256 {digest})",
            remedy=f"Trust.sha256({digest!r}) or --trust sha256:{digest}; a registered class by its name: --trust-type",
        )
    # Types alone never switch Keras's own guard off: it still refuses lambdas.
    with _on_disk(request) as path, _damaged(request, "Keras"):
        return keras.saving.load_model(path, compile=False, safe_mode=not trusted)


def _load_hdf5(request: _Request) -> Any:
    if request.path.name.endswith(".weights.h5"):
        return fill_from_keras_weights(_built(request), request.path, request.stream)
    _require_code_trust(request, "Keras ignores safe_mode for HDF5 models, so the file could run code", ())
    keras = _import_keras()
    check_hdf5(request.stream, request.stream.seek(0, os.SEEK_END), request.where)
    with _on_disk(request) as path, _damaged(request, "Keras"):
        return keras.saving.load_model(path, compile=False, safe_mode=False)


def _load_safetensors(request: _Request) -> Any:
    model = _built(request)
    # The parser maps the path by itself; with a pinned digest it must be the bytes that were hashed.
    with _on_disk(request) as path:
        return fill_from_safetensors(model, path)


def _load_torch(request: _Request) -> Any:
    torch = _import_torch()
    if request.factory is None:
        _require_code_trust(
            request,
            "a PyTorch checkpoint without a factory is a pickled object and could run code",
            _torch_globals(request),
            remedy="give --factory module:function if the file is a state dict (then only data are read); or",
        )
        with _damaged(request, "PyTorch"):
            return torch.load(request.stream, map_location="cpu", weights_only=False)
    model = _built(request)
    mapped = request.stream.read(2) == b"PK"  # the older format is one pickle stream, which cannot be mapped
    with _on_disk(request) as path, _damaged(request, "PyTorch"):
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    return fill_torch(model, state, request.path)


def _load_torchscript(request: _Request) -> Any:
    _require_code_trust(request, "a TorchScript archive holds code", _torch_globals(request))
    torch = _import_torch()
    with _damaged(request, "PyTorch"):
        return torch.jit.load(request.stream, map_location="cpu")


def _load_exported_program(request: _Request) -> Any:
    _require_code_trust(
        request, "PyTorch reads parts of a .pt2 file as pickles, so the file could run code", _torch_globals(request)
    )
    torch = _import_torch()
    with _damaged(request, "PyTorch"):
        return torch.export.load(request.stream)


def _load_pickle(request: _Request) -> Any:
    if request.path.suffix.lower() in {".pt", ".pth"}:
        return _load_torch(request)  # the format before the zip archive, a pickle stream too
    listing = list_pickle(request.stream)
    _require_code_trust(request, "loading a pickle runs the code in it", listing)
    return _unpickle(request)


def _load_compressed(request: _Request) -> Any:
    stream = open_compressed(request.stream)
    listing = list_pickle(stream) if stream is not None else PickleListing((), complete=False)
    _require_code_trust(request, "loading a pickle runs the code in it", listing)
    return _unpickle(request)


def _unpickle(request: _Request) -> Any:
    """Load with joblib where it is installed: it reads plain pickles too, and its own arrays between them."""
    request.stream.seek(0)
    try:
        import joblib
    except ImportError as error:
        raise MissingDependency("pickled models need joblib", remedy="pip install joblib") from error
    with _damaged(request, "joblib"):
        return joblib.load(request.stream)


_LOADERS: dict[Kind, Callable[[_Request], Any]] = {
    Kind.ONNX: _load_onnx,
    Kind.SKOPS: _load_skops,
    Kind.KERAS: _load_keras,
    Kind.HDF5: _load_hdf5,
    Kind.SAFETENSORS: _load_safetensors,
    Kind.TORCH: _load_torch,
    Kind.TORCHSCRIPT: _load_torchscript,
    Kind.EXPORTED_PROGRAM: _load_exported_program,
    Kind.PICKLE: _load_pickle,
    Kind.COMPRESSED: _load_compressed,
}
_TAKES_FACTORY = frozenset({Kind.HDF5, Kind.SAFETENSORS, Kind.TORCH, Kind.PICKLE})


def _built(request: _Request) -> Any:
    if request.factory is None:
        raise UsageError(
            "a file of weights does not say which model they belong to",
            where=request.where,
            needs="a function that builds the model",
            remedy='load(path, factory="module:function") or --factory module:function',
        )
    return build(request.factory)


def _require_code_trust(
    request: _Request, reason: str, listing: PickleListing | tuple[str, ...], *, remedy: str | None = None
) -> None:
    """Refuse the file unless the trust covers code; the message says what the file would import."""
    digest = digest_of(request.stream)
    if request.trust.allows_code(digest):
        return
    names = listing.names if isinstance(listing, PickleListing) else listing
    shown = ", ".join(names) if names else "nothing that could be listed"
    if isinstance(listing, PickleListing) and not listing.complete:
        shown += " (and perhaps more: the listing ends early)"
    pin = f"Trust.sha256({digest!r}) or --trust sha256:{digest}"
    convert = ""
    if request.path.suffix.lower() in {".pkl", ".pickle", ".joblib", ".cloudpickle"}:
        convert = f"; better: skops convert {request.path.name}, once, where the file was made"
    raise UntrustedFile(
        reason,
        where=f"{request.where}   SHA-256 {digest}",
        needs=f"your trust in the file; it imports {shown}" if names or isinstance(listing, PickleListing) else None,
        remedy=f"{remedy + ' ' if remedy else ''}if you made the file yourself: {pin}{convert}",
    )


def _torch_globals(request: _Request) -> PickleListing:
    """List the imports of every pickle in a torch archive."""
    if request.stream.read(2) != b"PK":
        request.stream.seek(0)
        return list_pickle(request.stream)
    names: dict[str, None] = {}
    complete = True
    with check_zip(request.stream, request.where) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as member:
                    listing = list_pickle(member)
                names.update(dict.fromkeys(listing.names))
                complete = complete and listing.complete
    return PickleListing(tuple(names), complete)


@contextlib.contextmanager
def _on_disk(request: _Request) -> Iterator[Path]:
    """Give a path for loaders that take no open file.

    With a pinned digest it is a private copy, hashed again: the file under the public name could be exchanged between
    the hash and the load.
    """
    if request.trust.digest is None:
        yield request.path
        return
    with tempfile.TemporaryDirectory(prefix="any2onnx-") as folder:
        copy = Path(folder) / request.path.name
        request.stream.seek(0)
        with copy.open("w+b") as target:
            shutil.copyfileobj(request.stream, target, 1 << 20)
            target.flush()
            request.trust.check_digest(digest_of(target), request.where)
        yield copy


@contextlib.contextmanager
def _damaged(request: _Request, library: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into one error that names it."""
    request.stream.seek(0)
    try:
        yield
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:500]
        raise MalformedFile(
            f"{library} cannot load the file: {type(error).__name__}: {text}",
            where=request.where,
            needs="an undamaged file, written by a version that the installed one can read",
        ) from error


def _import_keras() -> Any:
    try:
        import keras
    except ImportError as error:
        raise MissingDependency("Keras files need keras", remedy="pip install 'any2onnx[keras]'") from error
    return keras


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependency("PyTorch files need torch", remedy="pip install 'any2onnx[torch]'") from error
    return torch
