"""`--engine ray` on a real Ray cluster of several node processes: no row is lost or twice, whatever is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_files import make_bundle, parts, read_parts, read_rejects, texts_of, write_inputs
from bertbundle import InputError
from bertbundle._shared.commands import ROWS_REJECTED
from bertbundle.batch import Annotator, BatchJob, run_job
from bertbundle.batch.ray_engine import RayEngine
from optional import require_package
from processes import processes_with

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore"),  # of Ray's own code
]
FILES, ROWS, SHARD_BYTES = 4, 3000, 8_000
STORE_BYTES = 80 << 20
SECONDS = 600.0
"""How long a job may take on a busy machine."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and two nodes of one core; all tests share it, as it takes long to start."""
    require_package("ray")
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        made.wait_for_nodes()
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def job(tmp_path: Path) -> BatchJob:
    """A job of some hundred shards."""
    source = write_inputs(tmp_path / "in", files=FILES, rows=ROWS)
    bundle = make_bundle(tmp_path / "models")
    return BatchJob(Annotator(bundle=bundle, threads=1), str(source), str(tmp_path / "out"), shard_bytes=SHARD_BYTES)


def start(job: BatchJob, cluster: Any) -> subprocess.Popen[str]:
    """Start the command as a process of its own, the driver."""
    command = [sys.executable, "-m", "bertbundle", "bulk", "--engine", "ray", "--address", cluster.address, "--resume"]
    command += ["--bundle", str(job.annotator.bundle), "--input", job.source, "--output", job.output]
    command += ["--shard-bytes", str(job.shard_bytes), "--json"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    """Wait until a condition holds while the driver is running."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def has_parts(job: BatchJob, count: int) -> Callable[[], bool]:
    """Return a condition: at least `count` shards are finished."""
    return lambda: len(list(Path(job.output).glob("_shards/*.json"))) >= count


def finish(driver: subprocess.Popen[str]) -> None:
    """Wait for the end of the driver, which must be a success with rejected rows."""
    _, err = driver.communicate(timeout=SECONDS)
    assert driver.returncode == ROWS_REJECTED, err


def check(job: BatchJob) -> None:
    """Check that each row was answered or rejected once, and that nothing else is in the output."""
    of_all = [(number, index, text) for number in range(FILES) for index, text in enumerate(texts_of(number, ROWS))]
    output = Path(job.output)
    assert [row["id"] for row in read_parts(output)] == [index for _, index, text in of_all if text]
    rejects = [(Path(row["file"]).stem, row["input"]["id"]) for row in read_rejects(output)]
    assert rejects == [(str(number), index) for number, index, text in of_all if not text]
    assert all(row["entities"][0]["text"] == "wang" for row in read_parts(output))
    assert list(output.rglob(".*")) == []
    assert len(parts(output)) == len(list(output.glob("_shards/*.json")))


def worker_processes() -> list[int]:
    """Return the processes of the actors, which Ray titles with the name of their class."""
    return processes_with(b"ray::", b"MapBatches", b"Worker")


def test_no_cluster(job: BatchJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cluster at the address there is one message; also if that of this machine has been killed."""
    require_package("ray")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text("127.0.0.1:2")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(InputError, match=r"no Ray cluster at 'auto': .*refused. Start one with ray start --head"):
        run_job(job, RayEngine())
    with pytest.raises(InputError, match=r"no Ray cluster at '127.0.0.1:1': .* Start one with ray start --head"):
        run_job(job, RayEngine("127.0.0.1:1"), resume=True)


def test_actor_killed(job: BatchJob, cluster: Any) -> None:
    """An actor that is killed is started again, and its shard is computed again."""
    driver = start(job, cluster)
    wait_until(has_parts(job, 10), driver)
    killed = worker_processes()[:1]
    assert killed
    os.kill(killed[0], signal.SIGKILL)
    finish(driver)
    check(job)


def test_driver_killed(job: BatchJob, cluster: Any) -> None:
    """After its driver was killed, the job is started again and computes only what is not finished."""
    driver = start(job, cluster)
    wait_until(has_parts(job, 10), driver)
    driver.kill()
    driver.communicate()
    before = {path: path.stat().st_mtime_ns for path in Path(job.output).glob("_shards/*.json")}
    assert not (Path(job.output) / "_SUCCESS").exists()
    finish(start(job, cluster))
    check(job)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_invalid_clusters(job: BatchJob, cluster: Any, tmp_path: Path) -> None:
    """What a cluster cannot do is one message before work: cores, workers, and a bundle that a node has not."""
    with pytest.raises(InputError, match=r"no node of the Ray cluster has 4 cores. Pass a smaller --cores"):
        run_job(job, RayEngine(cluster.address, cores=4), resume=True)
    with pytest.raises(InputError, match=r"has cores for 2 workers of 1. Pass a smaller --workers"):
        run_job(job, RayEngine(cluster.address, workers=3), resume=True)
    bundle = Path(str(job.annotator.bundle))

    def engine(work: Any, shards: Any) -> Any:
        bundle.rename(tmp_path / "gone")  # after the driver has checked it, as on a node without it
        return RayEngine(cluster.address)(work, shards)

    with pytest.raises(InputError, match=r"on host \S+: no bundle.json in"):
        run_job(job, engine, resume=True)
    (tmp_path / "gone").rename(bundle)
    (bundle / "1").rename(bundle / "2")
    with pytest.raises(InputError, match=r"has version 2 of 'tiny' .* was planned with version 1 of 'tiny'"):
        run_job(job, lambda work, shards: RayEngine(cluster.address)(work, shards), resume=True)
    assert parts(Path(job.output)) == []


def test_errors_of_workers(job: BatchJob, cluster: Any) -> None:
    """An error of a worker has its own message, as without Ray; when it is mended, the job goes on."""
    file = Path(job.source) / "1.jsonl"
    content, times = file.read_bytes(), file.stat()

    def engine(work: Any, shards: Any) -> Any:
        file.write_bytes(b"{}\n")
        return RayEngine(cluster.address)(work, shards)

    with pytest.raises(
        InputError, match=r"^\S+1.jsonl was changed while the job ran. Finished shards are kept. Continue"
    ):
        run_job(job, engine)
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    finish(start(job, cluster))
    check(job)


def test_node_killed(job: BatchJob, cluster: Any) -> None:
    """The shards of a node that is killed are computed on the others."""
    driver = start(job, cluster)
    wait_until(has_parts(job, 10), driver)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    finish(driver)
    check(job)


def test_head_killed(job: BatchJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the head is lost, which ends Ray's drivers, the command says what to do; without Ray it is finished."""
    require_package("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES})
    try:
        monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
        driver = start(job, made)
        wait_until(has_parts(job, 10), driver)
        made.head_node.kill_gcs_server()
        _, err = driver.communicate(timeout=SECONDS)
    finally:
        made.shutdown()
    assert driver.returncode == 1
    assert re.search(r"the head of the Ray cluster at \S+ is lost: .*Start the cluster again.* --resume", err)
    assert run_job(job, resume=True).rows == FILES * ROWS
    check(job)
