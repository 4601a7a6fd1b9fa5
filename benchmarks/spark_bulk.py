"""A job of Spark: annotate the JSON lines of a directory; print the seconds of the job. See bulk_engines.py."""

from __future__ import annotations

import os
import sys
import time

from pyspark.sql import SparkSession

from bertbundle._shared.cores import available_cores
from bertbundle.spark import annotate

MEMORY_MB = 1024


def main() -> None:
    """Run the job on a local cluster of an executor for each core."""
    bundle, source, output = sys.argv[1:]
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    builder = SparkSession.builder.master(f"local-cluster[{available_cores()},1,{MEMORY_MB}]")
    options = {"driver.host": "127.0.0.1", "executor.memory": f"{MEMORY_MB}m", "ui.enabled": "false"}
    for name, value in options.items():
        builder = builder.config(f"spark.{name}", value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.range(1).count()  # the executors are connected
    begin = time.perf_counter()
    texts = session.read.schema("id bigint, text string").json(source)
    annotate(texts, bundle=bundle, threads=1).write.mode("overwrite").json(output)
    print(time.perf_counter() - begin)
    session.stop()


if __name__ == "__main__":
    main()
