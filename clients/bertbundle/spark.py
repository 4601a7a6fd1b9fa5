"""Annotate DataFrames of Apache Spark: ``pip install 'bertbundle[spark]'``.

>>> from bertbundle.spark import annotate
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bertbundle.batch.annotator import Annotator
from bertbundle.batch.connection import BundleIdentity
from bertbundle.batch.shards import Shard
from bertbundle.batch.work import Counts, ShardWork
from bertbundle.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["SparkEngine", "annotate", "predict_udf"]

_NO_SPARK = "Spark is not installed: pip install 'bertbundle[spark]'. It needs Python 3.11 or newer, and Java 17."


def annotate(df: DataFrame, **settings: Any) -> DataFrame:
    """Return a DataFrame with the results of its texts in typed columns, for example entities as an array of structs.

    Rows without an answer have the reason in the column ``error``, and null in the others. Every Python worker of an
    executor opens one client: a bundle in its process, or a connection to a server. Spark resumes nothing: a task that
    is lost is computed again, a job that fails starts over.

    Args:
        df: a DataFrame with a column of texts.
        settings: settings of `Annotator`, for example ``bundle="/models/ner", text="body", keep=("id",)``. The
            directory of a bundle must exist on the driver and on all executors.

    Raises:
        InputError: a column is missing, is not a string, has a type that Arrow lacks, or has the name of a result; an
            option does not apply to the model, or the bundle cannot be loaded.
        ServerError: the server did not answer.

    >>> annotate(df, bundle="/models/ner").select("id", "entities.label")  # doctest: +SKIP
    DataFrame[id: bigint, label: array<string>]
    """
    try:
        from pyspark.sql.pandas.types import from_arrow_schema
    except ImportError as error:
        raise InputError(_NO_SPARK) from error
    annotator, identity = _plan(settings)
    used = set(df.columns if annotator.keep is None else annotator.keep) | set(annotator.columns.names)
    output = annotator.output_schema(_input_schema(df, used))
    if str(df.sparkSession.conf.get("spark.sql.caseSensitive")).lower() != "true":
        folded = {name.lower() for name in used}
        _check_case([name for name in df.columns if name.lower() in folded])
        _check_case(output.names)
    if annotator.keep is not None:  # Spark then does not read the other columns
        df = df.select(*(name for name in df.columns if name in used))
    return df.mapInArrow(functools.partial(_annotate_batches, annotator, identity), from_arrow_schema(output))


def _input_schema(df: DataFrame, used: AbstractSet[str]) -> Any:
    """Return the Arrow schema of a DataFrame; columns that are not used have no type, and each name only once.

    Raises:
        InputError: Arrow lacks the type of a column that is used, or Spark cannot pass it by its name.
    """
    import pyarrow as pa
    from pyspark.errors import PySparkException
    from pyspark.sql.pandas.types import to_arrow_type

    if dotted := next((name for name in df.columns if name in used and re.search(r"[.`]", name)), None):
        raise InputError(f"column {dotted!r} has a dot or a backtick, which mapInArrow cannot take. Rename it.")
    options: dict[str, Any] = {"error_on_duplicated_field_names_in_struct": True}
    if "timezone" in inspect.signature(to_arrow_type).parameters:  # not in Spark 4.0
        options["timezone"] = df.sparkSession.conf.get("spark.sql.session.timeZone")
    fields = [pa.field(name, pa.null()) for name in dict.fromkeys(df.columns) if name not in used]
    for field in df.schema.fields:
        if field.name in used:
            try:
                arrow_type = to_arrow_type(field.dataType, **options)
            except PySparkException as error:
                raise InputError(
                    f"column {field.name!r} has the type {field.dataType.simpleString()}, which Arrow cannot hold. "
                    "Convert it, or leave it out with keep=."
                ) from error
            fields.append(pa.field(field.name, arrow_type, field.nullable))
    order = df.columns.index
    return pa.schema(sorted(fields, key=lambda field: order(field.name)))


def _check_case(names: Sequence[str]) -> None:
    """Check that names differ in more than case, which Spark ignores unless ``spark.sql.caseSensitive`` is set.

    Raises:
        InputError: two do not.
    """
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            raise InputError(
                f"{other!r} and {name!r} are one column to Spark, which ignores case. Rename the column {other!r}, or "
                "leave it out with keep=."
            )


def _plan(settings: dict[str, Any]) -> tuple[Annotator, BundleIdentity]:
    annotator = Annotator(**settings)
    identity = annotator.identity()
    return annotator.pinned(identity), identity


def _annotate_batches(annotator: Annotator, identity: BundleIdentity, batches: Iterable[Any]) -> Iterator[Any]:
    annotator.check_model(identity)
    return map(annotator, batches)


_Predict = Callable[..., "npt.NDArray[Any] | dict[str, npt.NDArray[Any]]"]


def predict_udf(*, batch_size: int = 2048, **settings: Any) -> Any:
    """Return a function of columns, from `predict_batch_udf`: vectors, values, or the best class with its score.

    A text without an answer fails the job; `annotate` has a column for the reason.

    Args:
        batch_size: number of texts of a batch.
        settings: settings of `Annotator`. The column is the argument of the function, whatever `text` is; with `pair`,
            of any name, it takes two.

    Returns:
        A function that returns a column of ``array<float>`` for embeddings, ``double`` for regression, and
        ``struct<label:string,score:double>`` for text classification.

    Raises:
        InputError: the model has another task, or as `annotate`.

    >>> df.select(predict_udf(bundle="/models/embedder")("text"))  # doctest: +SKIP
    DataFrame[predict(text): array<float>]
    """
    try:
        from pyspark.ml.functions import predict_batch_udf
        from pyspark.sql.types import DataType
    except ImportError as error:
        raise InputError(_NO_SPARK) from error
    annotator, identity = _plan(settings)
    task = annotator.decoder().task
    if task not in _RETURNS:
        raise InputError(f"the model is for {task}, predict_udf is for {', '.join(_RETURNS)}. Use annotate.")
    return_type, to_arrays = _RETURNS[task]
    make = functools.partial(_make_predict, annotator, identity, to_arrays)
    return predict_batch_udf(make, return_type=DataType.fromDDL(return_type), batch_size=batch_size)


def _make_predict(annotator: Annotator, identity: BundleIdentity, to_arrays: Callable[[list[Any]], Any]) -> _Predict:
    """Return the function that a Python worker keeps."""
    annotator.check_model(identity)

    def answer(texts: Iterable[Any]) -> Any:
        results = annotator.answer([_check_text(text) for text in texts])
        for error in results:
            if isinstance(error, InputError):
                raise InputError(f"{error} annotate() has a column for such rows.")
        return to_arrays(results)

    def predict(texts: npt.NDArray[Any]) -> Any:
        return answer(texts)

    def predict_pairs(texts: npt.NDArray[Any], pairs: npt.NDArray[Any]) -> Any:
        return answer(zip(texts, pairs, strict=True))

    return predict if annotator.pair is None else predict_pairs  # Spark counts the parameters


def _check_text(text: Any) -> Any:
    if all(isinstance(part, str) for part in (text if isinstance(text, tuple) else (text,))):
        return text
    return InputError(f"a row has {text!r}, expected a text.")


def _classes(results: list[Any]) -> dict[str, npt.NDArray[Any]]:
    labels = np.array([result.label for result in results], object)
    return {"label": labels, "score": np.array([result.score for result in results])}


_RETURNS: dict[str, tuple[str, Callable[[list[Any]], Any]]] = {
    "feature-extraction": ("array<float>", np.stack),
    "regression": ("double", np.array),
    "text-classification": ("struct<label:string,score:double>", _classes),
}
"""The type of the column for each task, in Spark's notation, and how results become its arrays."""


@dataclass(frozen=True, slots=True)
class SparkEngine:
    """An `Engine` for `run_job`: a Spark task for each shard, with the files and the resume of `bertbundle bulk`.

    Attributes:
        session: the Spark session.

    >>> run_job(BatchJob(Annotator(bundle="/models/ner"), "texts/", "answers/"), SparkEngine(spark), resume=True)
    ... # doctest: +SKIP
    Counts(rows=120, rejected=24)
    """

    session: SparkSession

    def __call__(self, work: ShardWork, shards: Sequence[Shard]) -> Iterator[Counts]:
        """Yield the counts of the shards when all are finished; progress shows in Spark's own page.

        Raises:
            InputError: a file or the bundle cannot be used on an executor, or the model did not answer. Spark has then
                tried a task as often as ``spark.task.maxFailures`` says.
        """
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        tasks = self.session.sparkContext.parallelize(list(shards), len(shards))
        try:
            yield from tasks.map(functools.partial(_compute, work)).collect()
        except (Py4JJavaError, PySparkException) as error:
            raise InputError(_spark_message(str(error))) from error


def _compute(work: ShardWork, shard: Shard) -> Counts:
    work.annotator.check_model(work.identity)
    return work.compute(shard)


def _spark_message(text: str) -> str:
    """Return the message of an error of this project in a traceback from a worker, or the first line of the text."""
    found = re.search(r"bertbundle\.errors\.\w+: (.*)", text)
    return found[1] if found else f"Spark failed: {text.splitlines()[0]}"
