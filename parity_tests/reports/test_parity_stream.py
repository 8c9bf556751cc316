"""Streams of rows: the same report for any chunks, files and workers; constant memory; progress; time limit."""

from __future__ import annotations

import json
import tracemalloc
from functools import cache

import numpy as np
import polars as pl
import pytest
from onnx import numpy_helper

import any2onnx
from any2onnx.errors import FileAccessError, MalformedFile, UsageError
from any2onnx.parity import Verdict, check_parity, check_parity_dask, check_parity_stream
from any2onnx.parity import rows as rows_module
from any2onnx.parity.rows import BLOCK_ROWS, blocks, open_rows, rows_in

COUNT = 2 * BLOCK_ROWS + 777


@cache
def model_and_rows():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    X = rng.normal(2, 3, (COUNT, 4)).astype(np.float32)
    y = (X[:, 0] > X[:, 1]).astype(int) + (X[:, 2] > 3)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:500], y[:500]), X


def converted(scale: float = 1.0):
    model, X = model_and_rows()
    proto = any2onnx.to_onnx(model, X)
    tensor = next(t for t in proto.graph.initializer if t.name.endswith("coef"))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * scale, tensor.name))
    return proto


@cache
def expected(scale: float = 1.0):
    model, X = model_and_rows()
    return check_parity_stream(model, converted(scale), X)


def chunks(X, sizes):
    at = 0
    while at < len(X):
        for size in sizes:
            if at < len(X):
                yield X[at : at + size]
                at += size


# --- the report ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1.0001])
@pytest.mark.parametrize("sizes", [[1000], [BLOCK_ROWS], [40_000], [1, 50_000], [7, 9000, 301]])
def test_the_report_does_not_depend_on_the_chunks(sizes, scale):
    model, X = model_and_rows()
    report = check_parity_stream(model, converted(scale), chunks(X, sizes))
    assert report.to_dict() == expected(scale).to_dict()
    assert report.passed is (scale == 1.0)
    assert str(report).splitlines()[-1] == report.last_line


def test_every_row_is_compared_and_the_numbers_are_those_of_all_rows():
    model, X = model_and_rows()
    report = expected(1.0001)
    assert report["probabilities"].verdict is Verdict.CONVERTER_IMPRECISE
    for summary in report:
        assert summary.detail.rows == COUNT
        assert [result.rows for result in summary.results] == [COUNT]
    whole = check_parity(model, converted(1.0001), X, suites="data")
    streamed = report["probabilities"]
    assert streamed.abs == pytest.approx(whole["probabilities"].abs, rel=1e-6)
    assert streamed.detail.elements == whole["probabilities"].detail.elements
    assert streamed.detail.mean == pytest.approx(whole["probabilities"].detail.mean, rel=1e-6)
    labels = report["label"].results[0]
    assert labels.equal + labels.tied + labels.wrong == COUNT


def test_worst_rows_are_numbered_from_the_start_of_the_data():
    import onnxruntime

    _, X = model_and_rows()
    session = onnxruntime.InferenceSession(converted(1.0001).SerializeToString(), providers=["CPUExecutionProvider"])
    report = expected(1.0001)
    found = report["probabilities"].detail.worst
    assert max(row.row for row in found) > BLOCK_ROWS
    for row in found:
        (answer,) = session.run(["probabilities"], {"X": X[row.row : row.row + 1]})
        assert float(row.onnx) == pytest.approx(float(answer[0, row.element[1]]), rel=1e-5)
        assert row.element[0] == row.row
        assert row.inputs[0][1].startswith(str(X[row.row, 0]))


# --- sources -------------------------------------------------------------------------------------------------------


def test_files_of_all_kinds(tmp_path):
    model, X = model_and_rows()
    frame = pl.DataFrame(X, schema=["a", "b", "c", "d"])
    np.save(tmp_path / "rows.npy", X)
    frame.write_parquet(tmp_path / "rows.parquet", row_group_size=5000)
    frame.write_csv(tmp_path / "rows.csv")
    proto = converted()
    for name, total in (("rows.npy", COUNT), ("rows.parquet", COUNT), ("rows.csv", None)):
        source = open_rows(tmp_path / name)
        assert source.total == total
        assert check_parity_stream(model, proto, tmp_path / name).to_dict() == expected().to_dict(), name
        part = np.concatenate([np.asarray(piece) for piece in source.pieces(16_000, 16_500)])
        np.testing.assert_array_equal(part.astype(np.float32), X[16_000:16_500])


def test_frames_with_text():
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=900), "b": rng.choice(["ä", "b", "c"], 900)})
    frame["b"] = frame["b"].astype(object)
    columns = make_column_transformer((StandardScaler(), ["a"]), (OneHotEncoder(), ["b"]))
    model = make_pipeline(columns, Ridge()).fit(frame, frame["a"])
    proto = any2onnx.to_onnx(model, frame)
    whole = check_parity_stream(model, proto, frame)
    assert whole.passed
    assert whole.worst.rows == 900
    pieces = [frame.iloc[a : a + 100] for a in range(0, 900, 100)]
    assert check_parity_stream(model, proto, pieces).to_dict() == whole.to_dict()


def test_several_inputs():
    import keras

    keras.utils.set_random_seed(0)
    inputs = [keras.Input((3,), name="left"), keras.Input((2,), name="right")]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(inputs)))
    proto = any2onnx.convert_keras(model)
    rng = np.random.default_rng(0)
    data = {"left": rng.normal(size=(300, 3)).astype(np.float32), "right": rng.normal(size=(300, 2)).astype(np.float32)}
    pieces = [{name: values[a : a + 70] for name, values in data.items()} for a in range(0, 300, 70)]
    report = check_parity_stream(model, proto, pieces)
    assert report.passed
    assert report.worst.rows == 300


def test_wrong_sources(tmp_path):
    model, X = model_and_rows()
    proto = converted()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    np.savez(tmp_path / "rows.npz", X)
    for name, error in (
        ("none.csv", FileAccessError),
        ("broken.parquet", MalformedFile),
        ("broken.npy", MalformedFile),
        ("rows.npz", UsageError),
    ):
        with pytest.raises(error):
            check_parity_stream(model, proto, tmp_path / name)
    with pytest.raises(UsageError, match="no rows"):
        check_parity_stream(model, proto, iter([X[:0]]))
    with pytest.raises(UsageError, match="piece by piece"):
        check_parity_stream(model, proto, 3)


def test_a_fixed_batch_cannot_be_streamed():
    import torch

    model = torch.nn.Linear(3, 2).eval()
    proto = any2onnx.convert_pytorch(model, (torch.ones(4, 3),))
    with pytest.raises(UsageError, match="batch is free"):
        check_parity_stream(model, proto, np.ones((8, 3), np.float32))


# --- running -------------------------------------------------------------------------------------------------------


def test_blocks_are_cut_anew_and_keep_the_order():
    rng = np.random.default_rng(0)
    data = np.arange(1000)
    for _ in range(20):
        pieces = np.split(data, np.sort(rng.integers(0, 1000, 9)))
        found = list(blocks(pieces, 96))
        assert [rows_in(block) for block in found] == [96] * 10 + [40]
        np.testing.assert_array_equal(np.concatenate(found), data)
    assert list(blocks([data[:0]], 96)) == []


def test_progress_and_time_limit(monkeypatch):
    model, X = model_and_rows()
    seen = []
    check_parity_stream(model, converted(), X, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(BLOCK_ROWS, COUNT), (2 * BLOCK_ROWS, COUNT), (COUNT, COUNT)]
    report = check_parity_stream(model, converted(), X, time_limit=0)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "time limit" in str(report)


def test_memory_does_not_grow(monkeypatch):
    """Four times the rows, the same peak; blocks are small here so that the test is quick."""
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", 512)
    monkeypatch.setattr(blocks, "__defaults__", (512,))
    model, X = model_and_rows()
    proto = converted()

    def peak(count):
        def pieces():
            for k in range(count):
                yield X[:512] + np.float32(k % 3)

        tracemalloc.start()
        report = check_parity_stream(model, proto, pieces())
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert report.worst.rows == 512 * count
        return found

    peak(4)
    small, large = peak(8), peak(64)
    assert large < 1.1 * small + 100_000


# --- Dask ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as found,
    ):
        yield found


@pytest.mark.parametrize("scale", [1.0, 1.0001])
@pytest.mark.parametrize("task_blocks", [None, 1, 2])
def test_workers_give_the_same_report(client, scale, task_blocks):
    model, X = model_and_rows()
    seen = []
    report = check_parity_dask(
        model, converted(scale), X, client=client, task_blocks=task_blocks, progress=lambda *at: seen.append(at)
    )
    assert report.to_dict() == expected(scale).to_dict()
    assert json.loads(report.to_json()) == json.loads(expected(scale).to_json())
    assert seen[-1] == (COUNT, COUNT)


def test_workers_read_files(client, tmp_path):
    model, X = model_and_rows()
    pl.DataFrame(X, schema=["a", "b", "c", "d"]).write_parquet(tmp_path / "rows.parquet")
    report = check_parity_dask(model, converted(), tmp_path / "rows.parquet", client=client)
    assert report.to_dict() == expected().to_dict()


def test_dask_refuses(client):
    model, X = model_and_rows()
    with pytest.raises(UsageError, match="several workers"):
        check_parity_dask(model, converted(), iter([X]), client=client)
    with pytest.raises(UsageError, match="task_blocks"):
        check_parity_dask(model, converted(), X, client=client, task_blocks=0)
