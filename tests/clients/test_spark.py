"""bertbundle.spark on a real local cluster of two executors."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_files import make_bundle, parts, snapshot, write_inputs
from bertbundle import Client, InputError
from bertbundle.batch import Annotator, BatchJob, run_job
from bertbundle.spark import SparkEngine, annotate, predict_udf
from fakes import FakeServer, Model, make_manifest, predict_method
from optional import require_package, skip_without
from processes import processes_with

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore"),  # of Spark's own code
]
ROWS = 3000
SECONDS = 240.0


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session on two executors of one core and little memory."""
    require_package("pyspark")
    if not any((Path(folder) / "java").exists() for folder in os.environ["PATH"].split(os.pathsep)):
        skip_without("java")
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("SPARK_LOCAL_DIRS", str(tmp_path_factory.mktemp("spark")))
        patch.setenv("SPARK_WORKER_DIR", str(tmp_path_factory.mktemp("work")))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        options = {
            "driver.host": "127.0.0.1",
            "driver.memory": "600m",
            "executor.memory": "600m",
            "executorEnv.PYTHONPATH": os.pathsep.join(sys.path),
            "ui.enabled": "false",
            "sql.execution.arrow.maxRecordsPerBatch": "50",
            "sql.shuffle.partitions": "2",
        }
        builder = SparkSession.builder.master("local-cluster[2,1,1024]")
        for name, value in options.items():
            builder = builder.config(f"spark.{name}", value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of the small model."""
    return make_bundle(tmp_path_factory.mktemp("models"))


def texts(spark: Any, rows: int, partitions: int = 4) -> Any:
    """Return a DataFrame with ids and texts; each hundredth text is empty."""
    text = "if(id % 100 = 0, '', concat('wang lives in ', if(id % 2 = 0, 'berlin', 'a')))"
    return spark.range(rows, numPartitions=partitions).selectExpr("id", f"{text} as body", "'x' as other")


def test_annotate(spark: Any, bundle: str) -> None:
    """Entities are an array of structs with the client's results; a row without an answer has the reason."""
    df = annotate(texts(spark, 200), bundle=bundle, threads=1, text="body", keep=("id",))
    assert df.dtypes == [
        ("id", "bigint"),
        ("entities", "array<struct<label:string,text:string,start:int,end:int,score:double>>"),
        ("error", "string"),
    ]
    rows = {row.id: row for row in df.collect()}
    assert sorted(rows) == list(range(200))
    with Client.local(bundle) as client:
        for number, text in ((1, "wang lives in a"), (2, "wang lives in berlin")):
            assert [entity.asDict() for entity in rows[number].entities] == [
                entity.to_dict() for entity in client.entities(text)
            ]
    assert rows[1].error is None
    assert (rows[100].entities, rows[100].error[:17]) == (None, "the text is empty")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "+08:00"])
@pytest.mark.parametrize("keep", [None, ("at", "inner", "id")])
def test_timestamps(spark: Any, bundle: str, zone: str, keep: tuple[str, ...] | None) -> None:
    """Timestamps, also in a struct, are kept with type and value, in any time zone of the session."""
    spark.conf.set("spark.sql.session.timeZone", zone)
    at = "timestamp'2024-07-01 10:00:00 UTC'"
    df = texts(spark, 3, 1).selectExpr("id", "body", f"{at} as at", f"struct({at} as x) as inner")
    answered = annotate(df, bundle=bundle, threads=1, text="body", keep=keep)
    assert dict(answered.dtypes).items() >= {"at": "timestamp", "inner": "struct<x:timestamp>"}.items()
    wanted = df.selectExpr("id", "unix_micros(at)", "unix_micros(inner.x)").collect()
    assert answered.selectExpr("id", "unix_micros(at)", "unix_micros(inner.x)").collect() == wanted
    spark.conf.unset("spark.sql.session.timeZone")


def test_names_that_differ_in_case(spark: Any, bundle: str) -> None:
    """A column that Spark could not tell from a result or another column is refused, unless it is left out."""
    df = texts(spark, 3, 1).selectExpr("id", "body", "1 as Error", "1 as Entities", "2 as x", "3 as X")
    for keep, names in [
        (("Error",), "'Error' and 'error'"),
        (("Entities",), "'Entities' and 'entities'"),
        (("x",), "'x' and 'X'"),
    ]:
        with pytest.raises(InputError, match=f"^{names} are one column to Spark, which ignores case. Rename the col"):
            annotate(df, bundle=bundle, text="body", keep=keep)
    assert annotate(df, bundle=bundle, threads=1, text="body", keep=("id",)).where("error is null").count() == 2
    spark.conf.set("spark.sql.caseSensitive", "true")
    kept = annotate(df, bundle=bundle, threads=1, text="body", keep=("Error", "x"))
    assert [tuple(row) for row in kept.where("error is null").select("Error", "x").collect()] == [(1, 2)] * 2
    spark.conf.unset("spark.sql.caseSensitive")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("interval '1' year as y", "column 'y' has the type interval year, which Arrow cannot hold. Convert it, or"),
        ("array(make_interval(1)) as y", "column 'y' has the type array<interval>, which Arrow cannot hold"),
        ("struct(1 as a, 2 as a) as y", "column 'y' has the type struct<a:int,a:int>, which Arrow cannot hold"),
        ("1 as `y.z`", "column 'y.z' has a dot or a backtick, which mapInArrow cannot take. Rename it"),
    ],
)
def test_columns_that_cannot_be_passed(spark: Any, bundle: str, column: str, message: str) -> None:
    """A column that Spark cannot pass to Python is named; it may be left out."""
    df = texts(spark, 3, 1).selectExpr("id", "body", column)
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        annotate(df, bundle=bundle, text="body")
    assert annotate(df, bundle=bundle, threads=1, text="body", keep=("id",)).count() == 3


def executors() -> list[int]:
    """Return the processes of the executors."""
    return processes_with(b"CoarseGrainedExecutorBackend")


def test_executor_killed(spark: Any, bundle: str, tmp_path: Path) -> None:
    """If an executor is killed, its tasks are computed again elsewhere, and no row is lost or twice."""
    output = tmp_path / "out"
    df = annotate(texts(spark, ROWS * 10, partitions=20), bundle=bundle, threads=1, text="body", keep=("id",))
    job = threading.Thread(target=lambda: df.write.parquet(str(output)))
    job.start()
    end = time.monotonic() + SECONDS
    before = executors()
    while not list(output.rglob("part-*")):
        assert job.is_alive()
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(before[0], signal.SIGKILL)
    job.join(SECONDS)
    assert not job.is_alive()
    assert before[0] not in executors()
    ids = [row.id for row in spark.read.parquet(str(output)).select("id").collect()]
    assert sorted(ids) == list(range(ROWS * 10))


@pytest.mark.parametrize(
    ("task", "dtype"),
    [
        ("feature-extraction", "array<float>"),
        ("regression", "double"),
        ("text-classification", "struct<label:string,score:double>"),
    ],
)
def test_predict_udf(spark: Any, task: str, dtype: str) -> None:
    """predict_udf returns the client's vectors, values and classes, from a served model."""
    server = FakeServer(predict_method(Model(make_manifest(task))))
    predict = predict_udf(server=server.address, model="tiny", batch_size=32)
    df = texts(spark, 60).where("id % 100 != 0").select("id", predict("body").alias("found"))
    assert df.dtypes[1] == ("found", dtype)
    rows = {row.id: row.found for row in df.collect()}
    assert sorted(rows) == list(range(1, 60))
    with Client(server.address, "tiny") as client:
        for number, text in ((1, "wang lives in a"), (2, "wang lives in berlin")):
            wanted: dict[str, Any] = {
                "feature-extraction": lambda text=text: client.embed(text).tolist(),
                "regression": lambda text=text: client.regress(text),
                "text-classification": lambda text=text: (client.classify(text).label, client.classify(text).score),
            }
            found = rows[number]
            assert (tuple(found) if task == "text-classification" else found) == wanted[task]()
    server.stop()


def test_predict_pairs(spark: Any) -> None:
    """With `pair` the function takes two columns."""
    server = FakeServer(predict_method(Model(make_manifest("regression"))))
    predict = predict_udf(server=server.address, model="tiny", pair="other")
    df = texts(spark, 10).where("id > 0").select("id", predict("body", "other").alias("found"))
    with Client(server.address, "tiny") as client:
        pairs = {number: (f"wang lives in {'a' if number % 2 else 'berlin'}", "x") for number in range(1, 10)}
        wanted = {number: client.regress(pair) for number, pair in pairs.items()}
    assert {row.id: row.found for row in df.collect()} == wanted
    server.stop()


def test_invalid(spark: Any, bundle: str) -> None:
    """What cannot work is one message before the job: a column, a type, a task, a bundle."""
    df = texts(spark, 10)
    with pytest.raises(InputError, match="no column 'text', there are id, body, other"):
        annotate(df, bundle=bundle)
    for keep in (("none",), ("id", "BODY")):
        with pytest.raises(InputError, match=f"no column '{keep[-1]}', there are id, body, other: correct --keep"):
            annotate(df, bundle=bundle, text="body", keep=keep)
    with pytest.raises(InputError, match="column 'id' has the type int64, expected strings"):
        annotate(df, bundle=bundle, text="id")
    with pytest.raises(InputError, match=r"no bundle.json in"):
        annotate(df, bundle=f"{bundle}-none", text="body")
    with pytest.raises(InputError, match=r"the model is for token-classification, predict_udf is for .* Use annotate"):
        predict_udf(bundle=bundle)


def test_engine(spark: Any, bundle: str, tmp_path: Path) -> None:
    """A job on Spark writes the files of a local one, resumes it, and ends with one message if a file is changed."""
    source = write_inputs(tmp_path / "in")
    jobs = [
        BatchJob(Annotator(bundle=bundle, threads=1), str(source), str(tmp_path / name), shard_bytes=400)
        for name in ("local", "spark", "changed")
    ]
    counted = [run_job(jobs[0]), run_job(jobs[1], SparkEngine(spark))]
    assert counted[0] == counted[1]
    written = [[path.read_bytes() for path in parts(Path(job.output))] for job in jobs[:2]]
    assert written[0] == written[1] != []
    next(Path(jobs[0].output).glob("_shards/*.json")).unlink()
    before = snapshot(Path(jobs[1].output))
    assert run_job(jobs[0], SparkEngine(spark), resume=True) == counted[0]
    assert run_job(jobs[1], SparkEngine(spark), resume=True) == counted[1]
    assert snapshot(Path(jobs[1].output)) == before

    def engine(work: Any, shards: Any) -> Any:
        (source / "0.jsonl").write_text("{}\n")
        return SparkEngine(spark)(work, shards)

    with pytest.raises(InputError, match=r"^\S+0.jsonl was changed while the job ran. Finished shards are kept. "):
        run_job(jobs[2], engine)
