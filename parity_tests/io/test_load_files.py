from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import struct
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from any2onnx.errors import MalformedFile, NotAModel, UntrustedFile, UsageError
from any2onnx.io import Trust, load
from any2onnx.io.keras_config import code_in_config
from any2onnx.io.limits import Limits
from any2onnx.io.pickles import list_pickle
from any2onnx.io.preflight import check_hdf5, check_json, check_zip

X = np.random.default_rng(0).standard_normal((30, 4))
Y = (X[:, 0] > 0).astype(int)
CODE_MARK = "any2onnx_pickle_was_executed"


class Attack:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- pickles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib", ".cloudpickle", ".pt", ".pth"])
def test_pickle_without_trust_is_refused_and_not_executed(tmp_path, suffix):
    path, mark = tmp_path / f"m{suffix}", tmp_path / CODE_MARK
    path.write_bytes(pickle.dumps(Attack(mark)))
    with pytest.raises(UntrustedFile) as caught:
        load(path)
    assert not mark.exists()
    message = str(caught.value)
    assert f"--trust sha256:{sha256(path)}" in message
    assert "posix.mkdir" in message
    assert caught.value.exit_code == 3
    if suffix in {".pkl", ".joblib"}:
        assert "skops convert" in message


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_listing_names_the_imports_of_every_protocol(tmp_path, protocol):
    path, mark = tmp_path / "m.pkl", tmp_path / CODE_MARK
    path.write_bytes(pickle.dumps([Attack(mark), StandardScaler()], protocol=protocol))
    with pytest.raises(UntrustedFile, match=r"posix\.mkdir.*sklearn\.preprocessing\._data\.StandardScaler"):
        load(path)
    assert not mark.exists()


def test_trust_by_digest_and_in_full(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(LinearRegression().fit(X, Y)))
    for trust in (Trust.sha256(sha256(path)), Trust.sha256("SHA256:" + sha256(path).upper()), Trust.all()):
        assert isinstance(load(path, trust=trust), LinearRegression)
    with pytest.raises(UntrustedFile, match="not the one that the trust pins"):
        load(path, trust=Trust.sha256("0" * 64))
    with pytest.raises(UntrustedFile, match="runs the code in it"):
        load(path, trust=Trust.types(["sklearn.linear_model._base.LinearRegression"]))


def test_trust_arguments():
    for bad in ("", "abc", "g" * 64, "0" * 63):
        with pytest.raises(UsageError, match="not a SHA-256"):
            Trust.sha256(bad)
    with pytest.raises(UsageError, match="takes a list of names"):
        Trust.types("sklearn.X")
    with pytest.raises(UsageError, match="full names"):
        Trust.types([3])


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 1), ("lzma", 1)], ids=str)
def test_joblib_files_list_and_load(tmp_path, compress):
    path = tmp_path / "m.joblib"
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y), path, compress=compress)
    with pytest.raises(UntrustedFile, match=r"sklearn\.pipeline\.Pipeline.*the listing ends early"):
        load(path)
    assert load(path, trust=Trust.sha256(sha256(path))).predict(X).shape == (30,)


def test_listing_is_bounded_for_a_decompression_bomb(monkeypatch):
    from any2onnx.io import pickles

    monkeypatch.setattr(pickles, "_MAX_BYTES", 1 << 20)
    bomb = io.BytesIO(gzip.compress(b"\x80\x04\x8e" + struct.pack("<Q", 50 << 20) + bytes(50 << 20)))
    stream = pickles.open_compressed(bomb)
    assert list_pickle(stream).complete is False
    assert stream.tell() < 4 << 20


def test_a_pickle_that_is_no_model(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(NotAModel, match=r"builtins\.dict"):
        load(path, trust=Trust.all())


def test_damaged_pickle_with_trust_is_malformed(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(LinearRegression().fit(X, Y))[:-20])
    with pytest.raises(MalformedFile, match="joblib cannot load the file"):
        load(path, trust=Trust.all())


# --- suffix and content ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".onnx", ".skops", ".keras", ".safetensors", ".h5", ".pt2", ".ts"])
def test_suffix_and_content_must_agree(tmp_path, suffix):
    path, mark = tmp_path / f"m{suffix}", tmp_path / CODE_MARK
    path.write_bytes(pickle.dumps(Attack(mark)))
    with pytest.raises(MalformedFile, match=r"the name says .*, the content is: pickle"):
        load(path, trust=Trust.all())
    assert not mark.exists()


@pytest.mark.parametrize(
    "suffix", [".onnx", ".skops", ".keras", ".safetensors", ".h5", ".pt", ".pt2", ".ts", ".pkl", ".joblib"]
)
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"hello", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x80\x04", bytes(range(256))]
)
def test_garbage_is_a_typed_error(tmp_path, suffix, content):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises((MalformedFile, UntrustedFile)):
        load(path)


def test_unknown_suffix_and_wrong_arguments(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"x")
    with pytest.raises(MalformedFile, match=r"\.bin is not a kind of model file"):
        load(path)
    with pytest.raises(UsageError, match=r"unknown framework 'kears' \(did you mean 'keras'\?\)"):
        load(path, framework="kears")


# --- skops -------------------------------------------------------------------------------------------------------


def test_skops_loads_known_types_only(tmp_path):
    import skops.io

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    skops.io.dump(model, tmp_path / "m.skops")
    np.testing.assert_array_equal(
        load(tmp_path / "m.skops", framework="sklearn").predict_proba(X), model.predict_proba(X)
    )
    with pytest.raises(NotAModel, match="needs   a model of keras"):
        load(tmp_path / "m.skops", framework="keras")
    with pytest.raises(UsageError, match="takes no factory"):
        load(tmp_path / "m.skops", factory="a:b")


def unsafe_step(x):
    return x


def test_skops_lists_untrusted_types(tmp_path):
    import skops.io

    path = tmp_path / "m.skops"
    skops.io.dump(make_pipeline(FunctionTransformer(unsafe_step), LinearRegression()).fit(X, Y), path)
    name = f"{unsafe_step.__module__}.unsafe_step"
    with pytest.raises(UntrustedFile) as caught:
        load(path)
    assert f"--trust-type {name}" in str(caught.value)
    with pytest.raises(UntrustedFile):
        load(path, trust=Trust.types(["other.Type"]))
    for trust in (Trust.types([name]), Trust.sha256(sha256(path)), Trust.all()):
        assert load(path, trust=trust).predict(X).shape == (30,)


def test_audited_types_load_and_compiled_ones_are_refused(tmp_path):
    import skops.io
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_selection import SelectKBest
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    from sklearn.impute import SimpleImputer
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    models = [
        make_pipeline(SimpleImputer(), SelectKBest(k=2), CalibratedClassifierCV(LogisticRegression())),
        GaussianProcessRegressor(RBF() + WhiteKernel()),
        MLPClassifier((3,), tol=1.0),
    ]
    path = tmp_path / "m.skops"
    for model in models:
        skops.io.dump(model.fit(X, Y), path)
        np.testing.assert_array_equal(load(path).predict(X), model.predict(X))
    for model, name in (
        (RandomForestClassifier(2), "sklearn.tree._tree.Tree"),
        (KNeighborsClassifier(algorithm="kd_tree"), "sklearn.neighbors._kd_tree.KDTree"),
    ):
        skops.io.dump(model.fit(X, Y), path)
        with pytest.raises(UntrustedFile, match=re.escape(f"--trust-type {name}")):
            load(path)


# --- archives ----------------------------------------------------------------------------------------------------


def archive(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as target:
        for name, data in entries:
            target.writestr(name, data)
    return stream


def test_zip_bomb_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "m.skops"
    path.write_bytes(archive(("schema.json", bytes(300 << 20))).getvalue())
    assert path.stat().st_size < 1 << 20
    with pytest.raises(MalformedFile, match="decompression bomb"):
        load(path)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a\\..\\x", "C:x", "a//b"])
def test_entries_that_leave_the_archive(name):
    with pytest.raises(MalformedFile, match="leaves it"):
        check_zip(archive(("schema.json", b"{}"), (name, b"x")), "f")


def test_links_duplicates_overlaps_and_counts():
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        target.writestr(link, "/etc/passwd")
    with pytest.raises(MalformedFile, match="no regular file"):
        check_zip(stream, "f")
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive(("a", b"1"), ("a", b"2"))
    with pytest.raises(MalformedFile, match="twice"):
        check_zip(twice, "f")
    with pytest.raises(MalformedFile, match="3 entries, at most 2"):
        check_zip(archive(*((str(i), b"") for i in range(3))), "f", Limits(zip_members=2))
    with pytest.raises(MalformedFile, match="unpacks to 9 bytes, at most 8"):
        check_zip(archive(("a", b"123456789")), "f", Limits(zip_total=8))
    data = bytearray(archive(("aa", b"1" * 50), ("bb", b"2" * 50), compression=zipfile.ZIP_STORED).getvalue())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 10)  # the second entry now begins inside the first
    with pytest.raises(MalformedFile, match="overlaps"):
        check_zip(io.BytesIO(bytes(data)), "f")


def test_json_limits():
    assert check_json(b'{"a": "[[[[{\\"["}', "c", "f", Limits(json_depth=1)) == {"a": '[[[[{"['}
    with pytest.raises(MalformedFile, match="nested more than 200 deep"):
        check_json(b"[" * 100_000 + b"]" * 100_000, "c", "f")
    with pytest.raises(MalformedFile, match="at most 3"):
        check_json(b"[   ]", "c", "f", Limits(json_bytes=3))
    for bad in (b"{", b"\xff", b"nope"):
        with pytest.raises(MalformedFile):
            check_json(bad, "c", "f")


# --- HDF5 --------------------------------------------------------------------------------------------------------


def hdf5(fill) -> io.BytesIO:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream


@pytest.mark.parametrize(
    "attack", ["external link", "soft link", "external data", "virtual", "shape bomb", "cycle", "deep"]
)
def test_hostile_hdf5(tmp_path, attack):
    import h5py

    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 100)

    def fill(file):
        if attack == "external link":
            file["a"] = h5py.ExternalLink(str(secret), "/")
        elif attack == "soft link":
            file["a"] = h5py.SoftLink("/b")
        elif attack == "external data":
            file.create_dataset("a", (100,), "u1", external=[(str(secret), 0, 100)])
        elif attack == "virtual":
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(str(secret), "d", (4,))
            file.create_virtual_dataset("a", layout)
        elif attack == "shape bomb":
            file.create_dataset("a", (1 << 40,), "f4", chunks=(1024,))
        elif attack == "cycle":
            file.create_group("a")["b"] = file["/"]
        else:
            group = file
            for _ in range(300):
                group = group.create_group("g")

    stream = hdf5(fill)
    size = len(stream.getvalue())
    if attack == "cycle":
        check_hdf5(stream, size, "f")  # harmless, but it must end
        return
    with pytest.raises(MalformedFile):
        check_hdf5(stream, size, "f")


def test_plain_hdf5_passes_and_damage_is_typed():
    stream = hdf5(lambda file: file.create_group("layers/dense").create_dataset("0", data=np.ones((4, 3))))
    data = stream.getvalue()
    check_hdf5(stream, len(data), "f")
    for size in range(8, len(data), 97):
        with pytest.raises(MalformedFile):
            check_hdf5(io.BytesIO(data[:size]), size, "f")


# --- Keras -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.BatchNormalization()])
    model.compile("adam", "mse", metrics=["mae"])
    path = tmp_path_factory.mktemp("keras") / "m.keras"
    model.save(path)
    return path, model


def changed(path: Path, target: Path, change) -> Path:
    """Copy a Keras archive with another config.json."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            copy.writestr(name, data)
    return target


def test_keras_archive_loads(keras_file):
    path, model = keras_file
    x = X.astype("float32")
    for trust in (None, Trust.sha256(sha256(path))):
        loaded = load(path, framework="keras", trust=trust)
        np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(model(x)))


def test_keras_lambda_is_refused_without_trust(tmp_path):
    import keras

    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)]).save(path)
    with pytest.raises(UntrustedFile) as caught:
        load(path)
    assert "Lambda, __lambda__" in str(caught.value)
    assert f"sha256:{sha256(path)}" in str(caught.value)
    assert float(np.asarray(load(path, trust=Trust.sha256(sha256(path)))(np.zeros((1, 4)))).max()) == 1.0


def test_keras_registered_class_by_name(tmp_path):
    import keras

    @keras.saving.register_keras_serializable("tests")
    class AddOne(keras.layers.Layer):
        def call(self, x):
            return x + 1

    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((4,)), AddOne()]).save(path)
    with pytest.raises(UntrustedFile, match="tests>AddOne"):
        load(path)
    assert float(np.asarray(load(path, trust=Trust.types(["tests>AddOne"]))(np.zeros((1, 4)))).max()) == 1.0


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}, "os.system"),
        (
            {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"},
            "keras.config",
        ),
        ({"module": "keras.utils", "class_name": "function", "config": "get_file"}, "keras.utils.get_file"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {}}, "TFSMLayer"),
        ({"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {}}, "TorchModuleWrapper"),
        ({"module": "keras.src.utils.file_utils", "class_name": "X", "config": {}}, "keras.src.utils.file_utils.X"),
        ({"module": "keras", "class_name": "export", "config": {}}, "keras.export"),
        ({"module": "keras.layersX", "class_name": "Dense", "config": {}}, "keras.layersX.Dense"),
        ({"class_name": "__typespec__", "config": {}}, "__typespec__"),
        ({"class_name": ["x"], "config": {}}, "malformed class name"),
        (
            {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
            "/etc/passwd",
        ),
    ],
)
def test_keras_config_attacks_are_refused(keras_file, tmp_path, entry, named):
    def attack(config):
        config["config"]["layers"].append(entry)

    with pytest.raises(UntrustedFile, match=re.escape(named)):
        load(changed(keras_file[0], tmp_path / "m.keras", attack))


def test_keras_config_of_many_layers_is_clean():
    import keras

    shape, layers = (8, 8, 2), keras.layers
    inputs = keras.Input(shape)
    x = layers.Conv2D(2, 3, kernel_regularizer="l2", bias_constraint="max_norm")(inputs)
    x = layers.Activation(keras.activations.gelu)(x)
    x = keras.ops.sum(x * 2 - 1, axis=-1)
    x = layers.Bidirectional(layers.LSTM(3, activation="relu"))(x)
    model = keras.Model(inputs, layers.Dense(2, activation=keras.ops.tanh if False else "tanh")(x))
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 5)), "mse", metrics=[keras.metrics.AUC()]
    )
    from keras.src.saving.serialization_lib import serialize_keras_object

    assert code_in_config(serialize_keras_object(model)) == []


def test_keras_zip_with_hostile_weights(keras_file, tmp_path):
    import h5py

    path = tmp_path / "m.keras"
    hostile = hdf5(lambda file: file.__setitem__("layers", h5py.ExternalLink("/etc/passwd", "/"))).getvalue()
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(keras_file[0]) as source, zipfile.ZipFile(path, "w", compression) as copy:
            for name in source.namelist():
                copy.writestr(name, hostile if name.endswith(".h5") else source.read(name))
        with pytest.raises(MalformedFile, match="external link"):
            load(path)


def test_keras_truncations_are_typed(keras_file, tmp_path):
    data = keras_file[0].read_bytes()
    path = tmp_path / "m.keras"
    for size in range(0, len(data), len(data) // 23):
        path.write_bytes(data[:size])
        with pytest.raises(MalformedFile):
            load(path)


def test_keras_h5_model_needs_trust(keras_file, tmp_path):
    path = tmp_path / "m.h5"
    keras_file[1].save(path)
    with pytest.raises(UntrustedFile, match="ignores safe_mode"):
        load(path)
    with pytest.raises(UsageError, match="--factory"):
        load(tmp_path_weights(keras_file[1], tmp_path))
    assert load(path, trust=Trust.sha256(sha256(path))).count_params() == keras_file[1].count_params()


def tmp_path_weights(model, folder: Path) -> Path:
    path = folder / "m.weights.h5"
    model.save_weights(path)
    return path


# --- weights and a factory ---------------------------------------------------------------------------------------


def torch_net():
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(4, 4)
            self.tied = torch.nn.Linear(4, 4)
            self.tied.weight = self.first.weight
            self.norm = torch.nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(self.tied(self.first(x)))

    return Net()


def keras_net():
    import keras

    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="d"), keras.layers.BatchNormalization(name="b")]
    )


def broken_factory():
    raise RuntimeError("out of order")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("by_name", [False, True])
def test_torch_weights_with_factory(tmp_path, suffix, by_name, monkeypatch):
    import torch
    from safetensors.torch import save_model

    net = torch_net()
    path = tmp_path / f"m{suffix}"
    if suffix == ".safetensors":
        save_model(net, str(path))  # leaves the tied weight out
    else:
        torch.save(net.state_dict(), path)
    factory = torch_net
    if by_name:
        (tmp_path / "my_factory.py").write_text(f"from {__name__} import torch_net as build\n")
        monkeypatch.chdir(tmp_path)
        factory = "my_factory:build"
    loaded = load(path, factory=factory, framework="pytorch")
    sys.modules.pop("my_factory", None)
    assert not loaded.training
    net.eval()
    x = torch.from_numpy(X).float()
    torch.testing.assert_close(loaded(x), net(x), rtol=0, atol=0)
    assert loaded.tied.weight.data_ptr() == loaded.first.weight.data_ptr()
    assert str(tmp_path) not in sys.path


def test_safetensors_stay_mapped(tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(500, 500), "bias": torch.ones(500)}, str(tmp_path / "m.safetensors"))
    loaded = load(tmp_path / "m.safetensors", factory=lambda: torch.nn.Linear(500, 500))
    with open("/proc/self/maps") as maps:
        mapped = [
            tuple(int(end, 16) for end in line.split()[0].split("-"))
            for line in maps
            if line.rstrip().endswith("m.safetensors")
        ]
    assert any(low <= loaded.weight.data_ptr() < high for low, high in mapped)


def test_weights_of_another_dtype_are_converted(tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2, 2).half(), "bias": torch.ones(2).half()}, str(tmp_path / "m.safetensors"))
    loaded = load(tmp_path / "m.safetensors", factory=lambda: torch.nn.Linear(2, 2))
    assert loaded.weight.dtype == torch.float32
    assert float(loaded.weight.detach().sum()) == 4.0


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5"])
def test_keras_weights_with_factory(tmp_path, suffix):
    from safetensors.numpy import save_file

    model = keras_net()
    path = tmp_path / f"m{suffix}"
    if suffix == ".weights.h5":
        model.save_weights(path)
    else:
        save_file({weight.path: np.asarray(weight) for weight in model.weights}, path)
    loaded = load(path, factory=keras_net, framework="keras")
    np.testing.assert_array_equal(np.asarray(loaded(X.astype("float32"))), np.asarray(model(X.astype("float32"))))


def test_weights_that_do_not_fit(tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.ones(3, 2), "extra": torch.ones(1)}, str(path))
    with pytest.raises(MalformedFile, match="do not fit"):
        load(path, factory=lambda: torch.nn.Linear(2, 2))
    with pytest.raises(MalformedFile, match="do not fit") as caught:
        load(path, factory=keras_net)
    assert "extra" in str(caught.value)


def test_factories_that_fail(tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.ones(1)}, str(path))
    for factory, message in (
        (None, "does not say which model"),
        ("nonsense", "does not name a factory"),
        ("no_such_module_x:f", "cannot be imported"),
        ("json:no_such", "has no 'no_such'"),
        ("json:__name__", "no function"),
        (broken_factory, "RuntimeError: out of order"),
    ):
        with pytest.raises(UsageError, match=message):
            load(path, factory=factory)
    with pytest.raises(NotAModel, match="returned dict"):
        load(path, factory=dict)


def test_state_dict_file_that_hides_code(tmp_path):
    import torch

    path, mark = tmp_path / "m.pt", tmp_path / CODE_MARK
    torch.save({"weight": Attack(mark)}, path)
    with pytest.raises(MalformedFile, match="Weights only load failed"):
        load(path, factory=torch_net)
    with pytest.raises(UntrustedFile, match=r"posix\.mkdir"):
        load(path)
    assert not mark.exists()


def test_whole_torch_modules_scripts_and_exported_programs_need_trust(tmp_path):
    import torch

    net = torch.nn.Linear(4, 2)
    torch.save(net, tmp_path / "m.pt")
    torch.jit.script(net).save(str(tmp_path / "m.ts"))
    torch.export.save(torch.export.export(net, (torch.ones(1, 4),)), tmp_path / "m.pt2")
    for name, message in (("m.pt", r"torch\.nn\.modules\.linear\.Linear"), ("m.ts", "holds code"), ("m.pt2", r"\.pt2")):
        path = tmp_path / name
        with pytest.raises(UntrustedFile, match=message):
            load(path)
        assert load(path, trust=Trust.sha256(sha256(path))) is not None


def test_damaged_safetensors(tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.ones(50)}, str(path))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MalformedFile, match="safetensors file is damaged"):
        load(path, factory=lambda: torch.nn.Linear(2, 2))
