from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import time

import ml_dtypes
import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import helper, numpy_helper

from any2onnx.errors import FileAccessError, GraphError, NotAModel
from any2onnx.io import atomic, load_onnx, save, save_model, saved_files, to_proto, write_streamed


class Pair:
    """The files of one save, where there is at most one data file."""

    def __init__(self, model, path, **keywords):
        save_model(model, path, **keywords)
        files = saved_files(path)
        self.model, self.nbytes = files.model, files.nbytes
        (self.data,) = files.data or (None,)


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def ir_model(**arrays: object) -> onnx_ir.Model:
    """Return a graph that only holds initializers (arrays or onnx_ir tensors) and returns them."""
    values = []
    for name, array in arrays.items():
        tensor = onnx_ir.tensor(array, name=name) if isinstance(array, np.ndarray) else array
        value = onnx_ir.Value(
            name=name, const_value=tensor, type=onnx_ir.TensorType(tensor.dtype), shape=onnx_ir.Shape(tensor.shape)
        )
        values.append(value)
    graph = onnx_ir.Graph([], values, nodes=[], initializers=values, opset_imports={"": 18}, name="g")
    return onnx_ir.Model(graph, ir_version=10)


def test_inline_round_trip_is_exact(tmp_path, make_model):
    model = make_model()
    saved = Pair(model, tmp_path / "m.onnx")
    assert saved.data is None
    assert saved.nbytes == os.path.getsize(saved.model)
    assert load_onnx(saved.model) == model
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_external_round_trip_is_exact_and_readable_by_onnx(tmp_path, make_model):
    model = make_model()
    saved = Pair(model, tmp_path / "m.onnx", external_data=True)
    assert saved.data is not None
    assert re.fullmatch(r"m\.onnx\.[0-9a-f]{16}\.data", saved.data.name)
    assert saved.data.stat().st_size == 64 * 64 * 4
    assert load_onnx(saved.model) == model
    np.testing.assert_array_equal(weights_of(onnx.load(saved.model))["w"], weights_of(model)["w"])
    inside = onnx.load(saved.model, load_external_data=False)
    assert [t.data_location for t in inside.graph.initializer] == [onnx.TensorProto.EXTERNAL, onnx.TensorProto.DEFAULT]


def test_data_file_is_named_by_its_own_sha256(tmp_path, make_model):
    import hashlib

    saved = Pair(make_model(), tmp_path / "m.onnx", external_data=True)
    assert hashlib.sha256(saved.data.read_bytes()).hexdigest()[:16] in saved.data.name


@pytest.mark.parametrize("external", [False, True])
def test_same_bytes_twice_and_from_a_parsed_copy(tmp_path, make_model, external):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    model = make_model(k2="v", k1="v")
    first = Pair(model, tmp_path / "a" / "m.onnx", external_data=external)
    second = Pair(
        onnx.ModelProto.FromString(model.SerializeToString()), tmp_path / "b" / "m.onnx", external_data=external
    )
    assert first.model.read_bytes() == second.model.read_bytes()
    if external:
        assert first.data.name == second.data.name
        assert first.data.read_bytes() == second.data.read_bytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5000, dtype=np.float32).reshape(50, 100).T,
        np.asfortranarray(np.arange(6000).reshape(10, 20, 30)),
        np.arange(6000, dtype=np.int16)[::3],
        np.arange(3000).astype(ml_dtypes.bfloat16),
        np.arange(4001, dtype=np.int8).astype(ml_dtypes.int4),
        np.zeros((0, 7), np.float32),
        np.asarray(3.5),
        np.arange(2000) % 2 == 0,
        (np.arange(900) + 1j).astype(np.complex64),
    ],
    ids=[
        "transposed",
        "fortran",
        "strided",
        "bfloat16",
        "int4-odd",
        "empty",
        "scalar",
        "bool",
        "complex",
    ],
)
def test_every_layout_and_dtype(tmp_path, array):
    proto = write_streamed(ir_model(w=array), tmp_path / "m.onnx", external_data_threshold=0)
    array = np.asarray(array)
    if array.size:
        assert proto.graph.initializer[0].data_location == onnx.TensorProto.EXTERNAL
    found = numpy_helper.to_array(load_onnx(tmp_path / "m.onnx").graph.initializer[0])
    assert found.shape == array.shape
    np.testing.assert_array_equal(found.astype(array.dtype.newbyteorder("=")), array)


def test_other_byte_order_and_wrong_sizes_at_the_writer():
    import hashlib
    import io

    from any2onnx.io.tensor_stream import TensorWriter

    stream = io.BytesIO()
    writer = TensorWriter(stream)
    writer.add_payload(np.arange(6, dtype=">f8").reshape(2, 3).T, 48, "w")
    assert stream.getvalue() == np.arange(6, dtype="<f8").reshape(2, 3).T.tobytes()
    assert writer.digest == hashlib.sha256(stream.getvalue()).hexdigest()
    with pytest.raises(GraphError, match="'w' declares 9 bytes and holds 8"):
        writer.add_payload(b"12345678", 9, "w")


def test_blocks_of_strided_weights_cross_chunks(tmp_path, monkeypatch):
    from any2onnx.io import tensor_stream

    monkeypatch.setattr(tensor_stream, "CHUNK", 1000)
    arrays = {
        "rows": np.arange(40_000, dtype=np.float32).reshape(4, 10_000).T,
        "long_rows": np.arange(40_000, dtype=np.float32).reshape(10_000, 4).T,
        "cube": np.arange(24_000, dtype=np.float64).reshape(20, 30, 40).transpose(2, 0, 1),
    }
    write_streamed(ir_model(**arrays), tmp_path / "m.onnx")
    found = weights_of(load_onnx(tmp_path / "m.onnx"))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_torch_tensors_lazy_tensors_and_mapped_tensors(tmp_path):
    import torch
    from onnx_ir.tensor_adapters import TorchTensor

    plain = np.arange(2000, dtype=np.float32)
    write_streamed(ir_model(w=plain), tmp_path / "source.onnx")
    mapped = onnx_ir.load(tmp_path / "source.onnx").graph.initializers["w"].const_value
    assert isinstance(mapped, onnx_ir.ExternalTensor)
    half = torch.arange(1000, dtype=torch.bfloat16)
    grad = torch.nn.Parameter(torch.arange(1200.0).reshape(30, 40))
    model = ir_model(
        mapped=mapped,
        half=TorchTensor(half, name="half"),
        grad=TorchTensor(grad, name="grad"),
        turned=TorchTensor(grad.detach().T, name="turned"),
        lazy=onnx_ir.LazyTensor(
            lambda: onnx_ir.tensor(plain * 2), dtype=onnx_ir.DataType.FLOAT, shape=onnx_ir.Shape([2000]), name="lazy"
        ),
    )
    write_streamed(model, tmp_path / "m.onnx")
    found = weights_of(load_onnx(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(found["mapped"], plain)
    np.testing.assert_array_equal(found["half"].astype(np.float32), half.float().numpy())
    np.testing.assert_array_equal(found["grad"], grad.detach().numpy())
    np.testing.assert_array_equal(found["turned"], grad.detach().numpy().T)
    np.testing.assert_array_equal(found["lazy"], plain * 2)
    assert isinstance(model.graph.initializers["mapped"].const_value, onnx_ir.ExternalTensor), "the model was changed"


def test_tensors_that_are_computed_by_rows(tmp_path, monkeypatch):
    from any2onnx.graph.arrays import RowsTensor
    from any2onnx.io import tensor_stream

    monkeypatch.setattr(tensor_stream, "CHUNK", 1 << 16)
    whole = np.random.default_rng(0).normal(size=(1001, 40)).astype(np.float32)
    asked = []

    def rows(some):
        asked.append(some)
        return whole[some] * 2

    tensor = RowsTensor(rows, dtype=onnx_ir.DataType.FLOAT, shape=whole.shape)
    write_streamed(ir_model(w=tensor), tmp_path / "m.onnx")
    np.testing.assert_array_equal(weights_of(load_onnx(tmp_path / "m.onnx"))["w"], whole * 2)
    assert [(some.start, some.stop) for some in asked] == [(k, k + 409) for k in (0, 409, 818)]
    np.testing.assert_array_equal(tensor.numpy(), whole * 2)
    short = RowsTensor(lambda some: whole[some][:-1], dtype=onnx_ir.DataType.FLOAT, shape=whole.shape)
    with pytest.raises(GraphError, match="declares 160160 bytes"):
        write_streamed(ir_model(w=short), tmp_path / "n.onnx")
    assert not (tmp_path / "n.onnx").exists()


def test_large_tensors_are_aligned_and_tied_ones_written_once(tmp_path):
    big = onnx_ir.tensor(np.ones(400_000, np.float32))
    proto = write_streamed(ir_model(a=np.ones(999, np.float32), b=big, c=big), tmp_path / "m.onnx")
    entries = [{e.key: e.value for e in t.external_data} for t in proto.graph.initializer]
    assert [e["offset"] for e in entries] == ["0", "4096", "4096"]
    assert entries[1] == entries[2]
    assert [t.name for t in proto.graph.initializer] == ["a", "b", "c"]


def test_saving_over_the_files_that_the_model_reads(tmp_path):
    path = tmp_path / "m.onnx"
    write_streamed(ir_model(w=np.arange(5000.0), v=np.arange(600.0)), path)
    model = onnx_ir.load(path)
    model.graph.initializers["v"].const_value = onnx_ir.tensor(np.arange(600.0) + 1, name="v")
    write_streamed(model, path)
    write_streamed(model, path)
    found = weights_of(load_onnx(path))
    np.testing.assert_array_equal(found["w"], np.arange(5000.0))
    np.testing.assert_array_equal(found["v"], np.arange(600.0) + 1)
    assert len(list(tmp_path.iterdir())) == 2


def test_protobuf_that_refers_to_data_is_saved_elsewhere(tmp_path, make_model):
    (tmp_path / "b").mkdir()
    model = make_model()
    save_model(model, tmp_path / "m.onnx", external_data=True)
    referring = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    save_model(referring, tmp_path / "b" / "inline.onnx", base_dir=tmp_path, external_data=False)
    save_model(referring, tmp_path / "b" / "pair.onnx", base_dir=tmp_path, external_data=True)
    assert load_onnx(tmp_path / "b" / "inline.onnx") == model
    assert load_onnx(tmp_path / "b" / "pair.onnx") == model
    with pytest.raises(FileAccessError, match="absent"):
        save_model(referring, tmp_path / "b" / "lost.onnx")


def test_to_proto_reads_external_data_in(tmp_path, make_model):
    model = make_model()
    save_model(model, tmp_path / "m.onnx", external_data=True)
    proto = to_proto(onnx_ir.load(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(weights_of(proto)["w"], weights_of(model)["w"])
    with pytest.raises(NotAModel, match="ModelProto"):
        to_proto(model)


def test_sub_graph_weights_go_outside_and_come_back(tmp_path):
    big = numpy_helper.from_array(np.arange(3000, dtype=np.float32), "big")
    branches = [
        helper.make_graph(
            [helper.make_node("Identity", ["big"], ["o"])],
            n,
            [],
            [helper.make_tensor_value_info("o", 1, [3000])],
            [big],
        )
        for n in ("then", "else")
    ]
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])],
        "g",
        [helper.make_tensor_value_info("c", 9, [])],
        [helper.make_tensor_value_info("y", 1, [3000])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for given in (model, onnx_ir.from_proto(model)):
        saved = Pair(given, tmp_path / "m.onnx", external_data=True)
        assert saved.model.stat().st_size < 2000
        branch = load_onnx(saved.model).graph.node[0].attribute[0].g
        np.testing.assert_array_equal(numpy_helper.to_array(branch.initializer[0]), np.arange(3000, dtype=np.float32))


def test_automatic_external_data_above_the_limit(tmp_path, make_model, monkeypatch):
    monkeypatch.setattr(save, "EXTERNAL_DATA_LIMIT", 64 * 64 * 4)
    assert Pair(make_model(), tmp_path / "m.onnx").data is not None
    monkeypatch.setattr(save, "EXTERNAL_DATA_LIMIT", 64 * 64 * 4 + 24)
    assert Pair(make_model(), tmp_path / "m.onnx").data is None


def test_model_too_large_for_one_file(tmp_path, make_model, monkeypatch):
    monkeypatch.setattr(save, "PROTOBUF_LIMIT", 1000)
    with pytest.raises(GraphError, match="does not fit into one"):
        save_model(make_model(), tmp_path / "m.onnx", external_data=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("as_ir", [False, True])
def test_strip_removes_provenance_only(tmp_path, make_model, external, as_ir):
    model = make_model(kept="yes")
    model.graph.node[0].metadata_props.add(key="step", value="pipeline/linear")
    before = model.SerializeToString()
    save_model(onnx_ir.from_proto(model) if as_ir else model, tmp_path / "m.onnx", strip=True, external_data=external)
    loaded = load_onnx(tmp_path / "m.onnx")
    assert loaded.graph.node[0].doc_string == ""
    assert not loaded.graph.node[0].metadata_props
    assert loaded.metadata_props[0].value == "yes"
    assert model.SerializeToString() == before


# --- refusals ----------------------------------------------------------------------------------------------------


def test_refusals(tmp_path, make_model):
    model = make_model()
    with pytest.raises(NotAModel, match="got dict"):
        save_model({}, tmp_path / "m.onnx")
    with pytest.raises(FileAccessError, match="folder to write to does not exist"):
        save_model(model, tmp_path / "no" / "m.onnx")
    with pytest.raises(FileAccessError, match="no regular file"):
        save_model(model, tmp_path)
    save_model(model, tmp_path / "m.onnx")
    with pytest.raises(FileAccessError, match="exists already"):
        save_model(model, tmp_path / "m.onnx", overwrite=False)
    save_model(make_model(seed=1), tmp_path / "m.onnx")
    assert load_onnx(tmp_path / "m.onnx") == make_model(seed=1)


@pytest.mark.parametrize("dangling", [False, True])
def test_never_through_a_symbolic_link(tmp_path, make_model, dangling):
    real = tmp_path / "real.onnx"
    if not dangling:
        real.write_bytes(b"precious")
    (tmp_path / "m.onnx").symlink_to(real)
    with pytest.raises(FileAccessError, match="symbolic link"):
        save_model(make_model(), tmp_path / "m.onnx")
    assert real.exists() is not dangling
    if not dangling:
        assert real.read_bytes() == b"precious"


def test_hard_linked_target_is_replaced_not_written_through(tmp_path, make_model):
    real = tmp_path / "real.bin"
    real.write_bytes(b"precious")
    os.link(real, tmp_path / "m.onnx")
    save_model(make_model(), tmp_path / "m.onnx")
    assert real.read_bytes() == b"precious"


def test_free_space_is_checked_first(tmp_path, make_model, monkeypatch):
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: type("U", (), {"free": 17_000})())
    with pytest.raises(FileAccessError, match="not enough free space") as caught:
        save_model(make_model(), tmp_path / "m.onnx")
    assert "18,048 bytes" in str(caught.value)
    assert "17,000 are free" in str(caught.value)
    assert caught.value.exit_code == 6
    assert not list(tmp_path.iterdir())


def test_no_permission(tmp_path, make_model, monkeypatch):
    def refuse(*arguments, **keywords):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic.secrets, "token_hex", refuse)  # root may write everywhere, so the refusal is made
    with pytest.raises(FileAccessError, match="cannot write the file: Permission denied") as caught:
        save_model(make_model(), tmp_path / "m.onnx")
    assert "check the permissions" in str(caught.value)
    assert isinstance(caught.value.__cause__, PermissionError)


def test_mode_follows_the_umask(tmp_path, make_model):
    old = os.umask(0o027)
    try:
        saved = Pair(make_model(), tmp_path / "m.onnx", external_data=True)
    finally:
        os.umask(old)
    assert stat.S_IMODE(saved.model.stat().st_mode) == 0o640
    assert stat.S_IMODE(saved.data.stat().st_mode) == 0o640


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("strip", [False, True])
def test_too_deeply_nested_graphs_are_refused(tmp_path, external, strip):
    model = onnx.ModelProto(ir_version=9)
    graph = model.graph
    for _ in range(40):
        graph.name = "g"
        node = graph.node.add(op_type="If", input=["c"], output=["y"])
        graph = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g
    graph.node.add(op_type="Identity", input=["c"], output=["y"])
    with pytest.raises(GraphError, match="nested too deeply"):
        save_model(model, tmp_path / "m.onnx", external_data=external, strip=strip)
    assert not list(tmp_path.iterdir())


# --- failures on the way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("fails_at", ["write", "fsync", "first rename", "last rename"])
def test_failure_leaves_the_old_model_and_no_temporary(tmp_path, make_model, monkeypatch, external, fails_at):
    path = tmp_path / "m.onnx"
    old = make_model(seed=0)
    save_model(old, path, external_data=external)
    before = sorted(os.listdir(tmp_path))
    full = OSError(errno.ENOSPC, "No space left on device")
    calls = {"n": 0}

    def failing(real, at):
        def call(*arguments):
            calls["n"] += 1
            if calls["n"] == at:
                raise full
            return real(*arguments)

        return call

    if fails_at == "write":
        monkeypatch.setattr(save, "_fill", failing(save._fill, 1))
    elif fails_at == "fsync":
        monkeypatch.setattr(atomic.os, "fsync", failing(os.fsync, 1))
    else:
        monkeypatch.setattr(
            atomic.os, "replace", failing(os.replace, 2 if external and fails_at == "last rename" else 1)
        )
    with pytest.raises(FileAccessError, match="No space left on device"):
        save_model(make_model(seed=1), path, external_data=external)
    monkeypatch.undo()
    assert load_onnx(path) == old
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    assert set(before) <= set(os.listdir(tmp_path))
    save_model(make_model(seed=2), path, external_data=external)
    assert load_onnx(path) == make_model(seed=2)
    assert len(os.listdir(tmp_path)) == (2 if external else 1), "what the failed save left was not cleaned up"


def test_keyboard_interrupt_leaves_nothing(tmp_path, make_model):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_model(make_model(), tmp_path / "m.onnx", external_data=True, progress=interrupt)
    assert not list(tmp_path.iterdir())


SAVER = textwrap.dedent("""
    import sys
    import numpy as np, onnx_ir
    from any2onnx.io import write_streamed
    def initializer(name, array):
        tensor = onnx_ir.tensor(array, name=name)
        shape, dtype = onnx_ir.Shape(array.shape), onnx_ir.TensorType(tensor.dtype)
        return onnx_ir.Value(name=name, const_value=tensor, type=dtype, shape=shape)

    def build(name, *values):
        graph = onnx_ir.Graph([], values, nodes=[], initializers=values, opset_imports={"": 18}, name=name)
        return onnx_ir.Model(graph, ir_version=10)

    def model(seed):
        w = np.full((1 << 20,), seed, np.float32)
        return build(f"seed{seed}", *(initializer(f"w{i}", w + i) for i in range(4)))

    models = [model(1), model(2)]
    print("ready", flush=True)
    i = 0
    while True:
        write_streamed(models[i % 2], sys.argv[1])
        i += 1
""")


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM], ids=lambda s: s.name)
def test_killed_at_random_moments_old_or_new_pair_never_a_mix(tmp_path, kill):
    """The saver alternates between two models; after each kill the pair on disk must be one of them, whole."""
    path = tmp_path / "m.onnx"
    rng = np.random.default_rng(int(kill))
    seen = set()
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        while not path.exists():
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.12)))
        process.send_signal(kill)
        process.wait()
        process.stdout.close()
        model = load_onnx(path)
        seed = int(model.graph.name.removeprefix("seed"))
        seen.add(seed)
        for i, array in enumerate(weights_of(model).values()):
            assert array.min() == array.max() == seed + i
    assert seen <= {1, 2}
    save_model(load_onnx(path), path, external_data=True)
    assert len(os.listdir(tmp_path)) == 2, f"leftovers of killed savers: {os.listdir(tmp_path)}"


def test_reader_beside_a_saver_never_sees_a_mix(tmp_path):
    path = tmp_path / "m.onnx"
    process = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        while not path.exists():
            time.sleep(0.002)
        whole = 0
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                model = load_onnx(path)
            except FileAccessError:
                continue  # the old data file was removed between the two reads: an error, no mix
            seed = int(model.graph.name.removeprefix("seed"))
            assert [array.max() for array in weights_of(model).values()] == [seed + i for i in range(4)]
            whole += 1
        assert whole
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_two_savers_at_once_leave_one_whole_pair(tmp_path, make_model):
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "m.onnx"
    models = [make_model(seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda model: save_model(model, path, external_data=True), models))
    assert load_onnx(path) in models
    assert len(os.listdir(tmp_path)) == 2


def test_living_temporaries_stay_dead_ones_go(tmp_path, make_model):
    path = tmp_path / "m.onnx"
    dead = tmp_path / ".m.onnx.0123456789abcdef.tmp"
    dead.write_bytes(b"left by a killed saver")
    foreign = tmp_path / ".other.onnx.0123456789abcdef.tmp"
    foreign.write_bytes(b"")
    with atomic.temporary_file(path) as living:
        living.stream.write(b"half")
        save_model(make_model(), path)
        assert living.path.exists()
        assert not dead.exists()
        assert foreign.exists()
    assert not living.path.exists()


def test_data_that_a_renamed_copy_needs_is_kept(tmp_path, make_model):
    path, copy = tmp_path / "m.onnx", tmp_path / "released.onnx"
    old = make_model(seed=0)
    save_model(old, path, external_data=True)
    copy.write_bytes(path.read_bytes())
    save_model(make_model(seed=1), path, external_data=True)
    assert load_onnx(copy) == old
    copy.unlink()
    save_model(make_model(seed=2), path, external_data=True)
    assert len(os.listdir(tmp_path)) == 2


# --- memory ------------------------------------------------------------------------------------------------------

MEASURE = textwrap.dedent("""
    import resource, sys
    import numpy as np, onnx_ir
    from any2onnx.io import write_streamed
    rows = 75_000_000 // 1000
    w = np.ones((rows, 1000), np.float32)
    w = w.T if sys.argv[2] == "transposed" else w

    def initializer(name, array):
        tensor = onnx_ir.tensor(array, name=name)
        shape, dtype = onnx_ir.Shape(array.shape), onnx_ir.TensorType(tensor.dtype)
        return onnx_ir.Value(name=name, const_value=tensor, type=dtype, shape=shape)

    def build(name, *values):
        graph = onnx_ir.Graph([], values, nodes=[], initializers=values, opset_imports={"": 18}, name=name)
        return onnx_ir.Model(graph, ir_version=10)

    model = build("g", initializer("w", w))
    warm = build("g", initializer("s", np.ones(2000, np.float32)))
    write_streamed(warm, sys.argv[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_streamed(model, sys.argv[1])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
""")


@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_streaming_300_mb_adds_no_copy(tmp_path, layout):
    output = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "m.onnx"), layout], capture_output=True, text=True, check=True
    ).stdout
    added = int(output) / 1024
    print(f"peak memory added while streaming 300 MB ({layout}): {added:.1f} MiB")
    assert added < 60
