"""The targets of the project."""

from __future__ import annotations

from dataclasses import dataclass

from figures import (
    IN_BATCHES,
    LIMIT,
    SAVED,
    Value,
    best,
    cost_ratio,
    difference,
    growth,
    int8_agreement,
    int8_loss,
    int8_over_bfloat16,
    limit_on_natural_lengths,
    median,
    memory_per_length,
    over,
    ratio,
    rest_over_grpc,
    server_overhead,
    short_against_padded,
    worst_server_cost,
    worst_share,
)


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its bound.

    Attributes:
        benchmark: the benchmark that measures it.
        value: returns the figure from the benchmark's rows, None if it was not measured.
        bound: the smallest value that reaches the goal.
        less: whether the bound is the largest value that reaches the goal instead.
        show: format of the figure.
    """

    benchmark: str
    value: Value
    bound: float
    less: bool = False
    show: str = "{:.1f}x"

    def holds(self, value: float) -> bool:
        """Return whether a figure reaches the goal."""
        return value <= self.bound if self.less else value >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that explains another.

    Attributes:
        benchmark: the benchmark that measures it.
        value: returns the figure from the benchmark's rows, None if it was not measured.
        show: format of the figure.
    """

    benchmark: str
    value: Value
    show: str = "{:.1f}"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a goal is not reached: a text with figures from the same run."""

    text: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the table.

    Attributes:
        what: what is measured.
        target: the bounds in words.
        goals: the figures, all of which must reach their bounds.
        why: the reason that is shown if one of them does not.
    """

    what: str
    target: str
    goals: tuple[Goal, ...]
    why: Reason | None = None


def loaded(precision: str) -> tuple[Goal, Goal]:
    """Return the goals for loading a SavedModel."""
    name = f"saved_model {precision}"
    return (
        Goal("loading", median("load to AVAILABLE", "s", name), 5, less=True, show="{:.1f} s"),
        Goal("loading", median("models that ran", "GB", name, 1), 1.5, less=True, show="{:.2f} GB"),
    )


INT8_SAVED = "saved_model int8"
INT8 = (INT8_SAVED, "openvino int8")
BFLOAT16 = ("saved_model bfloat16", "openvino bfloat16")
BFLOAT16_SERVED = ("bundle, gRPC, auto", "bundle, gRPC, saved_model")
TARGETS = (
    Target(
        "SavedModel on TensorFlow's runtime, better of [8, 128] x 2 callers and [32, 128], vs TFBert float32 as saved",
        "at least 5x",
        (Goal("engine", best("[8, 128] x 2 callers", "[32, 128]", variants=SAVED), 5),),
        Reason(
            "{} is what the best bfloat16 product of this processor would reach alone (limit); ours is at {} of it",
            (
                Figure("engine", best("[32, 128]", variants=(LIMIT,)), "{:.1f}x"),
                Figure("engine", best("[32, 128] of the limit", variants=SAVED), "{:.0%}"),
            ),
        ),
    ),
    Target(
        "the same on texts of natural length, through a server, 16 callers",
        "at least 15x",
        (Goal("served", best("callers, *", variants=SAVED, at=16), 15),),
        Reason(
            "{} is what the best bfloat16 product would reach on texts without their padding",
            (Figure("engine", limit_on_natural_lengths, "{:.1f}x"),),
        ),
    ),
    Target(
        "one text of 20 tokens, p50 through gRPC, best precision, vs today's route padded to 128",
        "at least 10x",
        (Goal("served", best("20 tokens, 1 caller", unit="ms p50"), 10),),
        Reason(
            "{} is the fastest engine alone, [1, 32] against TFBert's [1, 128]",
            (Figure("engine", short_against_padded, "{:.1f}x"),),
        ),
    ),
    Target(
        "MiniLM embeddings of WNUT17's test sentences in bfloat16 through gRPC, vs sentence-transformers with OpenVINO "
        "bfloat16",
        "at least 2x",
        (
            Goal(
                "peers", best("embeddings*", unit="texts/s", variants=("bundle, gRPC, auto", "bundle, gRPC, saved")), 2
            ),
        ),
        Reason(
            "{} is the same engine alone, without server and gRPC",
            (Figure("peers", best("embeddings*", unit="texts/s", variants=("bundle, in process",)), "{:.1f}x"),),
        ),
    ),
    Target(
        "the same in int8",
        "at least 2x",
        (Goal("peers", best("embeddings*", unit="texts/s", variants=("bundle, gRPC, int8",)), 2),),
        Reason(
            "with AMX, int8 is {} as fast as bfloat16 at [32, 128], which is at {} in process, without server and gRPC",
            (
                Figure("engine", int8_over_bfloat16, "{:.1f}x"),
                Figure("peers", best("embeddings*", unit="texts/s", variants=("bundle, in process",)), "{:.1f}x"),
            ),
        ),
    ),
    Target(
        "share of the best bfloat16 matrix product at [32, 128], best runtime",
        "at least 60 %",
        (Goal("engine", best("[32, 128] of the limit", variants=BFLOAT16), 0.6, show="{:.0%}"),),
    ),
    Target(
        "int8 over bfloat16 at [32, 128], best runtime of each; loss of F1 and equal labels on ResumeNER, the worse",
        "at least 1.5x / at most 0.5 points / at least 99 %",
        (
            Goal("engine", int8_over_bfloat16, 1.5),
            Goal("accuracy", int8_loss, 0.5, less=True, show="{:.2f} points"),
            Goal("accuracy", int8_agreement, 99, show="{:.2f} %"),
        ),
        Reason(
            "the products of a processor with AMX take about as long in both: bfloat16 is at {} of the best bfloat16 "
            "product, int8 at {}",
            (
                Figure("engine", best("[32, 128] of the limit", variants=BFLOAT16), "{:.0%}"),
                Figure(
                    "engine", best("[32, 128] of the limit", variants=("saved_model int8", "openvino int8")), "{:.0%}"
                ),
            ),
        ),
    ),
    Target(
        "int8 SavedModel on TensorFlow's runtime, better of [8, 128] x 2 callers and [32, 128], vs TFBert float32",
        "at least 3.3x",
        (Goal("engine", best("[8, 128] x 2 callers", "[32, 128]", variants=(INT8_SAVED,)), 3.3),),
    ),
    Target(
        "the same int8 SavedModel on texts of natural length, through a server, 16 callers",
        "at least 9x",
        (Goal("served", best("callers, *", variants=(INT8_SAVED,), at=16), 9),),
        Reason(
            "{} is that speed on texts without their padding, without server and callers",
            (Figure("engine", best("natural lengths*", variants=(INT8_SAVED,)), "{:.1f}x"),),
        ),
    ),
    Target(
        "int8 SavedModel over bfloat16 SavedModel at [32, 128] / [1, 32]",
        "at least 1.5x / 1.3x",
        (
            Goal("engine", over("[32, 128]", "seq/s", INT8_SAVED, "saved_model bfloat16"), 1.5, show="{:.2f}x"),
            Goal("engine", over("[1, 32]", "seq/s", INT8_SAVED, "saved_model bfloat16"), 1.3, show="{:.2f}x"),
        ),
        Reason(
            "the products of a processor with AMX take about as long in both; what remains, quantization and "
            "multiplication by the smoothing factors, int8 has in addition"
        ),
    ),
    Target(
        "int8 SavedModel with six lengths: load to AVAILABLE / resident memory after all lengths ran",
        "at most 4 s / 1.0 GB",
        (
            Goal("loading", median("load to AVAILABLE", "s", INT8_SAVED), 4, less=True, show="{:.1f} s"),
            Goal("loading", median("models that ran", "GB", INT8_SAVED, 1), 1.0, less=True, show="{:.2f} GB"),
        ),
        Reason(
            "without the warmup, which rearranges the kernels for each length, loading takes {} s; TensorFlow alone "
            "takes {} GB, and keeps {} GB of rearranged kernels for each length that ran",
            (
                Figure("loading", median("load without warm-up", "s", INT8_SAVED), "{:.1f}"),
                Figure("loading", median("empty TensorFlow process", "GB", INT8_SAVED), "{:.2f}"),
                Figure("loading", memory_per_length("int8"), "{:.2f}"),
            ),
        ),
    ),
    Target(
        "size of the int8 SavedModel over that of the float32 SavedModel",
        "at most 0.45",
        (Goal("exporting", over("SavedModel", "MB", "bundle int8", "bundle float32"), 0.45, less=True, show="{:.2f}"),),
    ),
    Target(
        "server's processor time per sequence over the engine's alone, 16 callers, the worst server",
        "at most 1.1",
        (Goal("shared_cores", worst_server_cost, 1.1, less=True, show="{:.2f}"),),
        Reason(
            "a request takes {} ms of the server outside the engine (auto int8), which computes a sequence in {} ms in "
            "batches of the server's size, {} rows of one length, and in {} ms in full ones",
            (
                Figure("shared_cores", server_overhead),
                Figure("shared_cores", median("16 callers, auto int8", "ms CPU", IN_BATCHES)),
                Figure("shared_cores", median("16 callers, auto int8", "rows/batch", "server")),
                Figure("shared_cores", median("16 callers, auto int8", "ms CPU", "engine")),
            ),
        ),
    ),
    Target(
        "served throughput over in-process throughput of the same engine, 16 callers, the worst server: alone / with a "
        "busy neighbour on one core",
        "at least 95 % / 90 %",
        (
            Goal("shared_cores", worst_share(""), 0.95, show="{:.0%}"),
            Goal("shared_cores", worst_share(", busy neighbour"), 0.9, show="{:.0%}"),
        ),
        Reason(
            "callers and server run on the engine's cores: per sequence the callers take {} ms and the server {} ms "
            "(auto int8), and the engine {} ms in batches of the server's size, {} rows, instead of {} ms in full ones",
            (
                Figure("shared_cores", median("16 callers, auto int8", "ms CPU", "callers")),
                Figure("shared_cores", server_overhead),
                Figure("shared_cores", median("16 callers, auto int8", "ms CPU", IN_BATCHES)),
                Figure("shared_cores", median("16 callers, auto int8", "rows/batch", "server")),
                Figure("shared_cores", median("16 callers, auto int8", "ms CPU", "engine")),
            ),
        ),
    ),
    Target(
        "SavedModel in float32 with six lengths: load to AVAILABLE / resident memory after all lengths ran",
        "at most 5 s / 1.5 GB",
        loaded("float32"),
        Reason(
            "without the warmup, which runs each length, loading takes {} s",
            (Figure("loading", median("load without warm-up", "s", "saved_model float32"), "{:.1f}"),),
        ),
    ),
    Target(
        "the same in bfloat16",
        "at most 5 s / 1.5 GB",
        loaded("bfloat16"),
        Reason(
            "TensorFlow keeps {} GB of rearranged kernels for each length that ran, which makes bfloat16 fast; without "
            "the warmup, which rearranges them, loading takes {} s",
            (
                Figure("loading", memory_per_length("bfloat16"), "{:.2f}"),
                Figure("loading", median("load without warm-up", "s", "saved_model bfloat16"), "{:.1f}"),
            ),
        ),
    ),
    Target(
        "export of six lengths, both formats, with parity, vs the usual route with one length: time / peak memory",
        "at most 1/3 / 1/4",
        (
            Goal("exporting", cost_ratio("time", "s"), 1 / 3, less=True, show="{:.2f}"),
            Goal("exporting", cost_ratio("peak memory", "GB"), 1 / 4, less=True, show="{:.2f}"),
        ),
    ),
    Target(
        "disk: bundle with both formats, bfloat16 and float32, over the source checkpoint",
        "at most 1.6x",
        (Goal("exporting", best("files", unit="MB", variants=("bundle bfloat16",)), 1.6, less=True, show="{:.2f}x"),),
    ),
    Target(
        "16 callers through the gateway, natural lengths, vs the Python client at the same server",
        "at least 0.9x",
        (Goal("gateway", ratio("16 callers", "texts/s", "gateway"), 0.9, show="{:.2f}x"),),
    ),
    Target(
        "what the gateway adds to a lone call with one short sentence, p50: over gRPC / over REST",
        "at most 2 ms",
        (
            Goal("gateway", median("1 caller, short text", "ms added", "gateway"), 2, less=True, show="{:.1f} ms"),
            Goal("gateway", median("1 caller, short text", "ms added", "REST"), 2, less=True, show="{:.1f} ms"),
        ),
        Reason(
            "HTTP and JSON, in the client and in the gateway, take {} ms more than gRPC",
            (Figure("gateway", rest_over_grpc, "{:.1f}"),),
        ),
    ),
    Target(
        "the gateway's resident memory after 60 s at its limit / over that after half of the time",
        "at most 150 MB / 1.1x",
        (
            Goal("gateway", median("64 callers, *", "MB resident", "gateway"), 150, less=True, show="{:.0f} MB"),
            Goal(
                "gateway",
                best("64 callers, *", unit="MB resident", variants=("after half",)),
                1.1,
                less=True,
                show="{:.2f}x",
            ),
        ),
    ),
    Target(
        "MiniLM embeddings over OpenAI's route, lists of 32 texts, embedded server in bfloat16 / int8, vs "
        "sentence-transformers behind a simple FastAPI app",
        "at least 2x",
        tuple(
            Goal(
                "embeddings_route",
                best("lists of 32 texts, callers", unit="texts/s", variants=(f"embedded server, {precision}",), at=1),
                2,
            )
            for precision in ("auto", "int8")
        ),
    ),
    Target(
        "`bertbundle bulk --engine ray` / Spark's `annotate`, vs `bertbundle bulk` in one process, same cores, 100,000 "
        "texts: rows per second",
        "at least 0.9x / 0.8x",
        (
            Goal("bulk_engines", best("entities of *", unit="rows/s", variants=("ray",)), 0.9, show="{:.2f}x"),
            Goal("bulk_engines", best("entities of *", unit="rows/s", variants=("spark",)), 0.8, show="{:.2f}x"),
        ),
    ),
    Target(
        "memory of driver and of the largest worker with 1,000,000 rows over that with 10,000, the worst engine",
        "at most 1.2x",
        (Goal("bulk_engines", growth("memory, *", "MB peak"), 1.2, less=True, show="{:.2f}x"),),
    ),
    Target(
        "three servers of fixed cost behind a balancer vs one, 24 callers that wait: Envoy / the client",
        "at least 2.8x",
        (
            Goal("replicas", best("24 callers", unit="texts/s", variants=("three, envoy",)), 2.8),
            Goal("replicas", best("24 callers", unit="texts/s", variants=("three, client",)), 2.8),
        ),
    ),
    Target(
        "simulated over measured latency of three servers at 70 % load: mean / 99th percentile, the difference",
        "at most 15 %",
        tuple(
            Goal(
                "replicas",
                difference(f"3 replicas, 70% load, {name}", "ms", "simulated"),
                0.15,
                less=True,
                show="{:.0%}",
            )
            for name in ("mean", "99th percentile")
        ),
    ),
)
