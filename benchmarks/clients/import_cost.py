"""Cost of a client before its first call, compared with the usual client: import time, memory and installed size.

The usual client is tensorflow-serving-api (which imports TensorFlow) and a transformers tokenizer.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import statistics
import subprocess
import sys

from common import parser, report

CODE = """
import time; start = time.perf_counter()
{imports}
seconds = time.perf_counter() - start
import json, re
rss = int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps([seconds, rss]))
"""
OURS = "import bertbundle"
THEIRS = """
import os; os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
import tensorflow
from transformers import BertTokenizerFast
"""


def measure(imports: str) -> tuple[float, float]:
    """Return the seconds and MiB that imports take in a fresh interpreter."""
    command = [sys.executable, "-c", CODE.format(imports=imports)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = json.loads(result.stdout.splitlines()[-1])
    return seconds, memory


def installed(*names: str) -> float:
    """Return the size on disk of distributions and all their dependencies, in MiB."""
    seen: set[str] = set()
    waiting = list(names)
    size = 0
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another platform or Python
            continue
        size += sum(path.stat().st_size for file in found.files or () if (path := found.locate_file(file)).is_file())  # type: ignore[attr-defined]
        required = [line for line in found.requires or () if "extra ==" not in line]
        waiting += [match[0] for line in required if (match := re.match(r"[\w.-]+", line))]
    return size / 2**20


def main() -> None:
    """Measure alternately and print the ratios."""
    options = parser(__doc__ or "").parse_args()
    measure(OURS)
    measure(THEIRS)
    pairs = [(measure(OURS), measure(THEIRS)) for _ in range(options.rounds)]
    times = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
    memory = [statistics.median(pair[side][1] for pair in pairs) for side in (0, 1)]
    sizes = [installed("bertbundle"), installed("tensorflow-serving-api", "tensorflow", "transformers")]
    figures: dict[str, float] = {}
    for name, unit, (ours, theirs) in (("import", "s", times), ("memory", "MiB", memory), ("installed", "MiB", sizes)):
        figures |= {f"{name}_{unit}": ours, f"{name}_{unit}_usual": theirs, f"{name}_ratio": theirs / ours}
    report("import_cost", figures, options)


main()
