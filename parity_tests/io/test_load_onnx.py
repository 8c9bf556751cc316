from __future__ import annotations

import os

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import helper, numpy_helper

from any2onnx.errors import Any2OnnxError, FileAccessError, MalformedFile, UnsupportedOperator
from any2onnx.io import load, load_onnx, save_model, saved_files
from any2onnx.io import load_onnx as load_onnx_function
from any2onnx.io.limits import Limits


@pytest.fixture
def pair(tmp_path, make_model):
    """A saved model with external data; the test may change the entries of its weight and save it again."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(make_model(), folder / "m.onnx", external_data=True)
    files = saved_files(folder / "m.onnx")
    proto = onnx.load(files.model, load_external_data=False)

    class Pair:
        path, data = files.model, files.data[0]

        @staticmethod
        def rewrite(**entries: str) -> None:
            weight = proto.graph.initializer[0]
            kept = {entry.key: entry.value for entry in weight.external_data} | entries
            weight.ClearField("external_data")
            for key, value in kept.items():
                weight.external_data.add(key=key, value=value)
            files.model.write_bytes(proto.SerializeToString())

    return Pair


@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin",
        "sub/../../secret.bin",
        "/etc/passwd",
        "",
        ".",
        "..",
        "a//b",
        "..\\secret.bin",
        "C:secret.bin",
        "C:\\secret.bin",
        "se\0cret",
        "./../secret.bin",
    ],
)
def test_hostile_locations_are_refused(pair, tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(bytes(64 * 64 * 4))
    pair.rewrite(location=location)
    with pytest.raises(MalformedFile, match="not a plain relative path"):
        load_onnx(pair.path)


def test_links_are_refused(pair, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(64 * 64 * 4))
    folder = pair.path.parent
    (folder / "soft").symlink_to(secret)
    os.link(secret, folder / "hard")
    (folder / "way").symlink_to(tmp_path)
    os.mkfifo(folder / "fifo")
    (folder / "inner").mkdir()
    (folder / "inner" / "soft").symlink_to(secret)
    for location, message in (
        ("soft", "symbolic link"),
        ("hard", "2 hard links"),
        ("way/secret.bin", "symbolic link"),
        ("inner/soft", "symbolic link"),
        ("fifo", "no regular file"),
        ("inner", "no regular file"),
    ):
        pair.rewrite(location=location)
        with pytest.raises(MalformedFile, match=message):
            load_onnx(pair.path)


def test_data_in_an_inner_folder_is_read(pair, make_model):
    inner = pair.path.parent / "inner"
    inner.mkdir()
    pair.data.rename(inner / "w.bin")
    pair.rewrite(location="./inner/w.bin")
    assert load_onnx(pair.path) == make_model()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "-1"}, "offset '-1' is not a number"),
        ({"offset": "1e3"}, "not a number"),
        ({"offset": "9" * 30}, "not a number"),
        ({"offset": "1"}, "reaches to byte 16,385"),
        ({"offset": str(2**63)}, "reaches to byte"),
        ({"length": "-16384"}, "not a number"),
        ({"length": "16385"}, "external data of 16385 bytes, dtype and shape need 16384"),
        ({"length": "0"}, "external data of 0 bytes"),
        ({"__class__": "x"}, "unknown external data key '__class__'"),
        ({"basepath": "/"}, "unknown external data key"),
    ],
)
def test_hostile_entries_are_refused(pair, entries, message):
    pair.rewrite(**entries)
    with pytest.raises(MalformedFile, match=message):
        load_onnx(pair.path)


def test_repeated_key_and_absent_data(pair):
    proto = onnx.load(pair.path, load_external_data=False)
    proto.graph.initializer[0].external_data.add(key="location", value="other")
    pair.path.write_bytes(proto.SerializeToString())
    with pytest.raises(MalformedFile, match="repeated external data key 'location'"):
        load_onnx(pair.path)
    pair.rewrite()
    pair.data.unlink()
    with pytest.raises(FileAccessError, match="is absent"):
        load_onnx(pair.path)


def test_truncated_data_file(pair):
    pair.data.write_bytes(pair.data.read_bytes()[:-1])
    with pytest.raises(MalformedFile, match=r"reaches to byte 16,384, the file .* has 16,383"):
        load_onnx(pair.path)


def test_hostile_location_in_an_attribute_of_a_function_is_refused(tmp_path, make_model):
    model = make_model()
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "t")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../x")
    node = helper.make_node("Constant", [], ["v"], value=tensor)
    model.functions.append(helper.make_function("d", "f", [], ["v"], [node], [helper.make_opsetid("", 18)]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(MalformedFile, match="plain relative path"):
        load_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"garbage", b"\x08\x09", b"\x08\x09\x12\x03abc", os.urandom(500)],
    ids=["empty", "zeros", "text", "only version", "no graph", "random"],
)
def test_garbage_is_malformed(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(MalformedFile) as caught:
        load(tmp_path / "m.onnx")
    assert caught.value.exit_code == 3
    with pytest.raises(MalformedFile):
        load_onnx(tmp_path / "m.onnx")


def test_every_truncation_is_typed(tmp_path, make_model):
    data = make_model(n=8).SerializeToString()
    path = tmp_path / "m.onnx"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(Any2OnnxError):
            load(path)


def test_every_flipped_byte_loads_or_is_typed(tmp_path, make_model):
    data = make_model(n=4).SerializeToString()
    path = tmp_path / "m.onnx"
    refused = 0
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            load(path)
        except Any2OnnxError:
            refused += 1
    assert refused > len(data) // 4


@pytest.mark.parametrize(
    "tensor",
    [
        onnx.TensorProto(name="t", dims=[1_000_000], data_type=1, raw_data=b"1234"),
        onnx.TensorProto(name="t", dims=[3], data_type=1, float_data=[1.0, 2.0]),
        onnx.TensorProto(name="t", dims=[-1], data_type=1),
        onnx.TensorProto(name="t", dims=[2**62, 2**62], data_type=1),
        onnx.TensorProto(name="t", dims=[1], data_type=99, raw_data=b"1"),
        onnx.TensorProto(name="t", dims=[1], data_type=0),
        onnx.TensorProto(name="t", dims=[2], data_type=8, string_data=[b"a"]),
    ],
    ids=["short raw", "short field", "negative", "huge", "no dtype", "undefined", "strings"],
)
def test_tensors_that_declare_more_than_they_hold(tmp_path, make_model, tensor):
    model = make_model()
    model.graph.initializer.append(tensor)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(MalformedFile):
        load_onnx(tmp_path / "m.onnx")


def test_all_dtypes_in_fields_and_raw_pass(tmp_path, make_model):
    model = make_model()
    for i, (data_type, values) in enumerate(
        [
            (onnx.TensorProto.INT4, [1, 2, 3]),
            (onnx.TensorProto.UINT8, [1, 2, 3]),
            (onnx.TensorProto.FLOAT16, [1.0, 2.0, 3.0]),
            (onnx.TensorProto.BFLOAT16, [1.0, 2.0, 3.0]),
            (onnx.TensorProto.COMPLEX64, [1j, 2j, 3j]),
            (onnx.TensorProto.STRING, [b"a", b"b", b"c"]),
            (onnx.TensorProto.BOOL, [True, False, True]),
        ]
    ):
        model.graph.initializer.append(helper.make_tensor(f"t{i}", data_type, [3], values))
    save_model(model, tmp_path / "m.onnx")
    assert load_onnx(tmp_path / "m.onnx") == model


def test_limits_on_nodes_and_depth(tmp_path, make_model):
    save_model(make_model(), tmp_path / "m.onnx")
    with pytest.raises(MalformedFile, match="more than 0 nodes"):
        load_onnx(tmp_path / "m.onnx", limits=Limits(onnx_nodes=0))
    model = make_model()
    body = helper.make_graph([], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], [], then_branch=body, else_branch=body))
    save_model(model, tmp_path / "m.onnx")
    with pytest.raises(MalformedFile, match="nested more than 0 deep"):
        load_onnx(tmp_path / "m.onnx", limits=Limits(onnx_depth=0))


def test_models_above_the_limit_come_as_mapped_ir(tmp_path, make_model, monkeypatch):
    import importlib

    module = importlib.import_module(load_onnx_function.__module__)
    model = make_model()
    model.graph.initializer.append(helper.make_tensor("p", onnx.TensorProto.UINT4, [4000], [1] * 4000))
    save_model(model, tmp_path / "m.onnx", external_data=True)
    monkeypatch.setattr(module, "EXTERNAL_DATA_LIMIT", 100)
    loaded = load_onnx(tmp_path / "m.onnx")
    assert isinstance(loaded, onnx_ir.Model)
    weight = loaded.graph.initializers["w"].const_value.numpy()
    np.testing.assert_array_equal(weight, numpy_helper.to_array(model.graph.initializer[0]))
    assert not weight.flags.owndata
    assert not weight.flags.writeable
    assert loaded.graph.initializers["p"].const_value.numpy().astype(int).tolist() == [1] * 4000
    assert isinstance(load(tmp_path / "m.onnx"), onnx_ir.Model)
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "i"))
    sparse.dims.append(9)
    save_model(model, tmp_path / "m.onnx", external_data=True)
    with pytest.raises(UnsupportedOperator, match="sparse initializers"):
        load_onnx(tmp_path / "m.onnx")


def test_absent_file_and_folder(tmp_path):
    with pytest.raises(FileAccessError, match="cannot read the file: No such file"):
        load(tmp_path / "no.onnx")
    with pytest.raises(FileAccessError, match="folder is no model file"):
        load(tmp_path)
