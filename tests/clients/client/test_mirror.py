"""Calls are copied to a shadow in the background, without an effect on the answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bertbundle import Client, Shadow
from bertbundle.client.mirror import MirrorCounts
from fakes import FakeServer, FakeTransport, Model, connect, make_manifest, predict_method
from versioned_transport import VersionedTransport, model, other_model
from waiting import wait_until

TEXT = "Wang lives in Berlin"


def shadowed(copies: Any, **settings: Any) -> Client:
    """Return a client whose calls are copied to a transport."""
    return connect(FakeTransport(), shadow=Shadow(transport=copies, **settings))


def counts_of(client: Client) -> MirrorCounts:
    """Return the counts of a client's shadow when no call is pending."""
    wait_until(lambda: client.rollout.shadow.pending == 0)
    return client.rollout.shadow


def test_counts_of_texts() -> None:
    """Each text of a call agrees or disagrees."""
    with shadowed(VersionedTransport(other_model(2))) as client:
        client.entities(TEXT)
        client.entities(["wang", TEXT])
        list(client.entities(iter(["wang", "lives", TEXT])))
        client.entities(["Wang", "lives"], is_split_into_words=True)
        assert counts_of(client) == MirrorCounts(agreed=4, disagreed=3)
        assert client.rollout.disagreed == 3


@pytest.mark.parametrize("task", ["feature-extraction", "regression", "text-classification", "fill-mask", "multi-task"])
def test_every_task(task: str) -> None:
    """The results of each task are compared, of one text and of a list."""
    methods = {"feature-extraction": "embed", "regression": "regress", "fill-mask": "fill_mask", "multi-task": "heads"}
    served = Model(make_manifest(task))
    with connect(FakeTransport(served), shadow=Shadow(transport=FakeTransport(served))) as client:
        ask: Callable[[Any], Any] = getattr(client, methods.get(task, "classify"))
        texts = ["[MASK] lives", "wang in [MASK]"]
        ask(texts[0])
        ask(texts)
        assert counts_of(client) == MirrorCounts(agreed=3)


def test_answers_are_not_delayed() -> None:
    """A shadow that does not answer changes no answer, and what exceeds the queue is dropped; close ends it."""
    copies = VersionedTransport(model(1))
    copies.gate.clear()
    before = set(threading.enumerate())
    client = shadowed(copies, max_pending=3)
    for _ in range(10):
        assert len(client.entities(TEXT)) == 2
    counts = client.rollout.shadow
    assert (counts.pending, counts.dropped, counts.agreed) == (3, 7, 0)
    client.close()
    after = client.rollout.shadow
    assert (after.pending, after.agreed + after.dropped, after.failed) == (0, 10, 0)
    assert copies.closed
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, as when the interpreter exits, the answer is as ever; the copy is dropped."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with shadowed(VersionedTransport(model(1))) as client:
        monkeypatch.setattr(threading.Thread, "start", fail)
        assert len(client.entities(TEXT)) == 2
        assert client.rollout.shadow == MirrorCounts(dropped=1)
        monkeypatch.undo()
        assert len(client.entities(TEXT)) == 2
        assert counts_of(client) == MirrorCounts(agreed=1, dropped=1)


def test_errors_of_the_shadow_are_counted() -> None:
    """A shadow that fails, or that is for another task, has no effect but its count and its last error."""
    with shadowed(FakeTransport(Model(make_manifest("text-classification")))) as client:
        assert len(client.entities(TEXT)) == 2
        counts = counts_of(client)
    assert counts.failed == 1
    assert counts.last_error.startswith("InputError: model 'tiny' is for text-classification")


def test_invalid_texts_are_not_copied() -> None:
    """A call that raises an error is not copied."""
    copies = VersionedTransport(model(1))
    with shadowed(copies) as client:
        with pytest.raises(Exception, match="is empty"):
            client.entities("")
        assert counts_of(client) == MirrorCounts()
    assert copies.answered == []


def test_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of the calls is copied."""
    values = iter((0.4, 0.6, 0.2))
    monkeypatch.setattr("bertbundle.client.mirror.random.random", lambda: next(values))
    with shadowed(VersionedTransport(model(1)), share=0.5) as client:
        for _ in range(3):
            client.entities(TEXT)
        assert counts_of(client) == MirrorCounts(agreed=2)


def test_callers_may_change_what_they_passed_and_got() -> None:
    """Texts and results are copied: the caller may change them while the shadow computes."""
    copies = FakeTransport(Model(make_manifest("feature-extraction")))
    ready = threading.Event()
    predict = copies.predict

    def wait(call: Any, **options: Any) -> Any:
        ready.wait(20)
        return predict(call, **options)

    copies.predict = wait  # type: ignore[method-assign]
    served = FakeTransport(Model(make_manifest("feature-extraction")))
    with connect(served, shadow=Shadow(transport=copies)) as client:
        texts = ["wang", "lives"]
        vectors = client.embed(texts)
        vectors *= -1
        texts[0] = "berlin"
        ready.set()
        assert counts_of(client) == MirrorCounts(agreed=2)
    assert np.all(vectors <= 0)


def test_another_server(start_server: Callable[..., FakeServer]) -> None:
    """The shadow may be another server, with a connection of its own."""
    first, second = (start_server(predict_method(served)) for served in (model(1), other_model(1)))
    with Client(first.address, "tiny", shadow=Shadow(server=second.address)) as client:
        client.entities(TEXT)
        assert counts_of(client) == MirrorCounts(disagreed=1)


def test_closed_without_a_call() -> None:
    """A client that was not used closes its shadow, too."""
    copies = VersionedTransport(model(1))
    shadowed(copies).close()
    assert copies.closed
