"""Registry, translator, options, errors: the parts that every front-end shares."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import metadata

import numpy as np
import onnx_ir as ir
import pytest

import any2onnx
from any2onnx import errors
from any2onnx.converters.translator import Translator
from any2onnx.errors import (
    OpsetNotSupported,
    PromiseBroken,
    RegistryError,
    UnknownOption,
    UnsupportedOperator,
    UsageError,
)
from any2onnx.graph import DataType, GraphBuilder, Opsets, TensorSpec
from any2onnx.graph.types import dims_of, spec_of
from any2onnx.operator_mappings import user_layer
from any2onnx.operator_mappings.direct import direct
from any2onnx.operator_mappings.mapping import Call, OperatorMapping
from any2onnx.operator_mappings.registry import Needed, Registry, default_registry
from any2onnx.options import Options


def row(key: str, converter=lambda g, call: call.input, **fields) -> OperatorMapping:
    return OperatorMapping(framework="sklearn", key=key, converter=converter, **fields)


# --- registry ---------------------------------------------------------------------------------------------------------


def test_rows_with_overlapping_opsets_are_refused() -> None:
    with pytest.raises(RegistryError, match="same opset"):
        Registry.of([row("a.A", opset=(13, 18)), row("a.A", opset=(18, None))])
    registry = Registry.of([row("a.A", opset=(13, 17), note="old"), row("a.A", opset=(18, None), note="new")])
    assert registry.lookup("sklearn", "a.A", 17).note == "old"
    assert registry.lookup("sklearn", "a.A", 18).note == "new"


def test_outside_every_range_names_the_opset_that_would_do() -> None:
    registry = Registry.of([row("a.A", opset=(18, 20))])
    with pytest.raises(OpsetNotSupported, match="no ONNX mapping at opset 13") as low:
        registry.lookup("sklearn", "a.A", 13, "pipe/a")
    assert low.value.needs == "opset ≥ 18 (13 was asked for)"
    assert low.value.where == "pipe/a"
    with pytest.raises(OpsetNotSupported) as high:
        registry.lookup("sklearn", "a.A", 21)
    assert high.value.needs == "opset ≤ 20 (21 was asked for)"


def test_all_unsupported_operators_come_in_one_error() -> None:
    registry = Registry.of(
        [row("a.Known"), row("a.Late", opset=(20, None)), row("a.No", converter="", refused="it has no transform")]
    )
    needed = [
        Needed("a.Late", "1"), Needed("a.Foo", "model.head ← src/net.py:41"), Needed("a.Known"), Needed("a.Bar"),
        Needed("a.Bar"), Needed("a.Bar"), Needed("a.No"),
    ]  # fmt: skip
    with pytest.raises(UnsupportedOperator) as caught:
        registry.require("sklearn", needed, 17)
    error = caught.value
    assert error.summary.startswith("a.Foo has no ONNX mapping")
    assert error.where == "model.head ← src/net.py:41"
    assert set(error.others) == {"a.Bar (×3)", "a.No", "a.Late"}
    assert "docs/custom_converters.md" in str(error)
    with pytest.raises(UnsupportedOperator, match="it has no transform"):
        registry.require("sklearn", [Needed("a.No")], 17)
    with pytest.raises(UnsupportedOperator, match=r"did you mean 'a\.Known'"):
        registry.require("sklearn", [Needed("a.Knwon")], 17)
    registry.require("sklearn", [Needed("a.Known")], 17)


def test_layers_do_not_change_the_registry_below() -> None:
    base = Registry.of([row("a.A", note="base")], "base")
    with pytest.raises(RegistryError, match="override=True"):
        base.extended([row("a.A")])
    top = base.extended([row("a.A", note="top"), row("b.B")], name="mine", override=True)
    assert top.layers == ("base", "mine")
    assert top.lookup("sklearn", "a.A", 21).note == "top"
    assert base.lookup("sklearn", "a.A", 21).note == "base"
    assert base.find("sklearn", "b.B", 21) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"framework": "caffe", "key": "x", "converter": lambda g, c: None},
        {"framework": "sklearn", "key": "x"},
        {
            "framework": "sklearn",
            "key": "x",
            "converter": "m:f",
            "honours": frozenset("a"),
            "irrelevant": frozenset("a"),
        },
    ],
)
def test_wrong_rows_are_refused_when_made(fields) -> None:
    with pytest.raises(RegistryError):
        OperatorMapping(**fields)


def test_every_row_of_the_tables_names_functions_that_exist() -> None:
    rows = default_registry().rows()
    assert {r.framework for r in rows} == {"sklearn", "keras", "pytorch"}
    for r in rows:
        if not r.refused:
            assert callable(r.converter_function()), r.key
            shape_function = r.shape_function()
            assert shape_function is None or callable(shape_function), r.key


def test_a_row_that_names_nothing_says_so() -> None:
    for reference in ("any2onnx.converters.translator:nothing", "any2onnx.no_module:f"):
        with pytest.raises(RegistryError, match="there is no"):
            row("a.A", converter=reference).converter_function()


def test_plugins_add_layers_and_a_broken_one_is_left_out(monkeypatch) -> None:
    class Point:
        def __init__(self, name, value) -> None:
            self.name, self.value, self.dist = name, value, None

        def load(self):
            if isinstance(self.value, Exception):
                raise self.value
            return self.value

    points = [Point("zeta", lambda: [row("my.Z")]), Point("alpha", [row("my.A")]), Point("bad", ImportError("no x"))]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    default_registry.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="'bad'.*ImportError: no x"):
            registry = default_registry()
        assert registry.layers[-2:] == ("alpha", "zeta")
        assert registry.knows("sklearn", "my.Z")
        monkeypatch.setenv("ANY2ONNX_NO_PLUGINS", "1")
        default_registry.cache_clear()
        assert not default_registry().knows("sklearn", "my.Z")
    finally:
        default_registry.cache_clear()


def test_the_process_layer_lies_on_top_and_can_be_cleared() -> None:
    user_layer.register([row("my.Process")])
    try:
        assert user_layer.current_registry().layers[-1] == "process"
        assert user_layer.current_registry().knows("sklearn", "my.Process")
        assert not default_registry().knows("sklearn", "my.Process")
    finally:
        user_layer.clear()
    assert user_layer.current_registry() is default_registry()


# --- translator -------------------------------------------------------------------------------------------------------


def translate(converter, promise=None, **fields):
    g = GraphBuilder(Opsets.of(21))
    x = g.input("x", DataType.FLOAT, ("batch", 4))
    mapping = row("a.A", converter, shapes=(lambda call: promise) if promise else "", **fields)
    translator = Translator(Registry.of([mapping]), "sklearn", g)
    call = Call(key="a.A", source=None, inputs=(x,), scope="pipe/a", location="pipe/a (A)")
    return g, translator.convert(call)


def test_the_promise_fills_in_what_inference_cannot_know() -> None:
    def converter(g, call):
        return g.Compress(call.input, np.array([True, False, True, False]), axis=1)

    _, y = translate(converter, TensorSpec(DataType.FLOAT, ("batch", 2)))
    assert spec_of(y) == TensorSpec(DataType.FLOAT, ("batch", 2))
    _, y = translate(converter)
    assert dims_of(y.shape) == ("batch", None)


@pytest.mark.parametrize(
    ("promise", "text"),
    [
        (TensorSpec(DataType.DOUBLE, ("batch", 4)), r"float\[batch,4\], the operator promises double\[batch,4\]"),
        (TensorSpec(DataType.FLOAT, ("batch", 5)), r"promises float\[batch,5\]"),
        (TensorSpec(DataType.FLOAT, ("batch",)), r"promises float\[batch\]"),
        ([TensorSpec(DataType.FLOAT), TensorSpec(DataType.FLOAT)], "promises"),
        ({"predict": TensorSpec(DataType.FLOAT)}, "promises"),
    ],
)
def test_a_converter_that_breaks_the_promise_is_named(promise, text) -> None:
    with pytest.raises(PromiseBroken, match=text) as caught:
        translate(lambda g, call: g.Neg(call.input), promise)
    assert "a.A" in caught.value.summary
    assert caught.value.where == "pipe/a (A)"


def test_errors_of_a_converter_say_where_it_was() -> None:
    with pytest.raises(errors.GraphError) as caught:
        translate(lambda g, call: g.Relu(call.input, beta=1))
    assert caught.value.where == "pipe/a (A)"


def test_calls_recur_into_sub_models_and_sub_graphs() -> None:
    g = GraphBuilder()
    x = g.input("x", DataType.FLOAT, ("batch", 4))

    def outer(g, call):
        inner = Call(key="a.Inner", source=None, inputs=call.inputs, scope=call.scope + "/inner", location="inner")
        direct_result = call.convert(inner)
        (branch,) = g.If(
            g.const(True),
            lambda b: call.convert(Call(key="a.Inner", source=None, inputs=(direct_result,), scope="then"), b),
            lambda b: b.Neg(direct_result),
        )
        return branch

    registry = Registry.of([row("a.Outer", outer), direct("sklearn", "a.Inner", "Relu")])
    translator = Translator(registry, "sklearn", g)
    y = translator.convert(Call(key="a.Outer", source=None, inputs=(x,), scope="pipe"))
    model = g.build({"y": y})
    names = [str(n.name) for n in ir.traversal.RecursiveGraphIterator(model.graph)]
    assert names == ["pipe/inner/Relu", "pipe/If", "then/Relu", "pipe/Neg"]
    assert model.graph[0].metadata_props["any2onnx.source"] == "inner"


def test_options_of_a_call_are_checked_against_the_row() -> None:
    def convert(**options):
        g = GraphBuilder()
        x = g.input("x", DataType.FLOAT, ("n", 4))
        mapping = row("a.A", options={"zipmap": (True, False, "columns"), "free": ()})
        Translator(Registry.of([mapping]), "sklearn", g).convert(
            Call(key="a.A", source=0, inputs=(x,), options=options)
        )

    convert(zipmap="columns", free=object())
    with pytest.raises(UnknownOption, match="did you mean 'zipmap'"):
        convert(zipmpa=True)
    with pytest.raises(UnknownOption, match="zipmap='rows'"):
        convert(zipmap="rows")


def test_direct_rows_map_attributes_and_go_through_the_builder() -> None:
    g = GraphBuilder(Opsets.of(13))
    x = g.input("x", DataType.FLOAT, ("n", 4))
    rows = [
        direct("pytorch", "aten.elu.default", "Elu", attributes={"alpha": "alpha"}),
        direct("pytorch", "aten.gelu.default", "Gelu", attributes={"approximate": "approximate"}),
        direct("pytorch", "aten.amax.default", "ReduceMax", fixed={"keepdims": False}),
    ]
    translator = Translator(Registry.of(rows), "pytorch", g)
    translator.convert(Call(key="aten.elu.default", source=0, inputs=(x,), params={"alpha": 0.5, "inplace": False}))
    translator.convert(Call(key="aten.gelu.default", source=0, inputs=(x,), params={"approximate": "tanh"}))
    y = translator.convert(Call(key="aten.amax.default", source=0, inputs=(x,)))
    assert dims_of(y.shape) == ()
    assert g.nodes[0].attributes["alpha"].as_float() == 0.5
    assert "Tanh" in [n.op_type for n in g.nodes], "Gelu does not exist at opset 13"


# --- options ----------------------------------------------------------------------------------------------------------


class Base: ...


class Derived(Base): ...


def test_the_most_specific_key_of_the_options_wins() -> None:
    model = Derived()
    known = {"zipmap": (), "precision": ()}
    options = Options(
        {
            "precision": "float64",
            Base: {"zipmap": 1},
            Derived: {"zipmap": 2},
            "clf": {"zipmap": 3},
            id(model): {"zipmap": 4},
        }
    )
    assert options.for_source(Base(), "pipe/other", known) == {"precision": "float64", "zipmap": 1}
    assert options.for_source(Derived(), "pipe/other", known) == {"precision": "float64", "zipmap": 2}
    assert options.for_source(Derived(), "pipe/clf", known) == {"precision": "float64", "zipmap": 3}
    assert options.for_source(model, "pipe/clf", known) == {"precision": "float64", "zipmap": 4}
    assert list(options.unused()) == []
    unused = Options({"nowhere": {"zipmap": 1}, "a__b__zipmap": 2, Base: {}}).unused()
    assert sorted(unused) == ["Base", "a__b", "nowhere"]
    assert Options({"a__b__zipmap": 2}).for_source(model, "pipe/a/b", known) == {"zipmap": 2}


def test_options_of_the_wrong_form_are_refused() -> None:
    with pytest.raises(UsageError, match="options is"):
        Options([1])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the options of"):
        Options({Base: False})


# --- errors -----------------------------------------------------------------------------------------------------------


def test_messages_have_the_fixed_layout() -> None:
    error = UnsupportedOperator(
        "aten.foo.default has no ONNX mapping at opset 17",
        where="model.head.dist ← src/net.py:41   d = torch.foo(a, b)",
        needs="opset ≥ 18 (17 was asked for)",
        remedy="convert_pytorch(..., target_opset=18)",
        others=["aten.bar.default (×3)", "aten.baz.default"],
    )
    assert str(error) == (
        "aten.foo.default has no ONNX mapping at opset 17\n"
        "  where   model.head.dist ← src/net.py:41   d = torch.foo(a, b)\n"
        "  needs   opset ≥ 18 (17 was asked for)\n"
        "  try     convert_pytorch(..., target_opset=18)\n"
        "  others  2 more: aten.bar.default (×3), aten.baz.default"
    )
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))


def test_every_error_has_an_exit_code_of_the_table() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.Any2OnnxError)]
    assert len(classes) > 15
    assert {c.exit_code for c in classes} <= {1, 2, 3, 4, 5, 6, 70}
    for c in classes:
        assert c.__doc__
        assert str(c("what")) == "what"


# --- the package ------------------------------------------------------------------------------------------------------


def test_import_loads_no_framework() -> None:
    code = (
        "import sys; import any2onnx; "
        "from any2onnx.data_types import FloatTensorType; from any2onnx.errors import Any2OnnxError; "
        "heavy = {'sklearn', 'keras', 'tensorflow', 'torch', 'jax', 'onnxruntime', 'onnx_ir', 'onnx', 'pandas'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_tables_loads_no_framework() -> None:
    code = (
        "import sys; from any2onnx.operator_mappings.registry import default_registry; default_registry(); "
        "import any2onnx.api, any2onnx.converters.translator, any2onnx.passes, any2onnx.parity, any2onnx.io; "
        "print(sorted({'sklearn', 'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lazy_names_of_the_package() -> None:
    assert any2onnx.FloatTensorType([None, 4]).shape == [None, 4]
    assert any2onnx.convert_sklearn.__module__ == "any2onnx.api"
    assert set(any2onnx.__all__) <= set(dir(any2onnx))
    for name in any2onnx.__all__:
        assert getattr(any2onnx, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'convert_caffe'"):
        any2onnx.convert_caffe  # noqa: B018


def test_no_module_has_mutable_state_of_its_own() -> None:
    """Conversion is thread-safe because nothing outlives a call, but for the one layer that users register."""
    import pkgutil

    allowed = {
        "any2onnx.operator_mappings.user_layer._LAYER",
        "any2onnx.api._CAPTURE",
        # The recorder patches Keras process-wide, under a lock of its own; this stack is part of the patch.
        "any2onnx.converters.keras.tracing_patch._CURRENT",
    }
    found = []
    for info in pkgutil.walk_packages(any2onnx.__path__, "any2onnx."):
        if info.name.endswith("__main__"):
            continue
        module = __import__(info.name, fromlist=["_"])
        for name, value in vars(module).items():
            constant = name.strip("_").isupper() and not isinstance(value, list | set | bytearray)
            if name.startswith("__") or constant or f"{info.name}.{name}" in allowed:
                continue
            if isinstance(value, list | set | dict | bytearray):
                found.append(f"{info.name}.{name}")
    assert not found, f"make them constants in capitals, or pass them: {found}"
