"""The page at / of the REST port, in a real browser."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bert4keras_heads import pointer_weights, write_bert4keras
from bertbundle_serving.config.models import ModelConfig
from browser import Page, find_browser, open_page
from embedded_server import Serve, start_server
from http_calls import fetch, fetch_json
from joint_models import INTENTS, functional_model, write_vocabulary
from optional import skip_without
from tiny_bundles import TinyBundles
from tiny_checkpoints import LABELS, write_checkpoint

pytestmark = pytest.mark.slow
TEXT = "Alex Rivera lives in Springfield. 😀 Call Alex."
SCREENSHOT = os.environ.get("BERTBUNDLE_SCREENSHOT")


@pytest.fixture(scope="module")
def url(rampart: Path, minilm: Path, models: Path) -> Iterator[str]:
    """The root URL of a server with the page: a tagger, an encoder, a classifier, a joint model, a model of spans."""
    from bertbundle_export import LoadOptions, export_bundle

    write_checkpoint(models / "source", "BertForSequenceClassification", labels=("bad", "good"))
    classifier = export_bundle(models / "source", name="classifier", output=models, max_length=16).path
    heads = {
        "slots": ("token-classification", LABELS),
        "intent": ("text-classification", INTENTS),
        "urgency": "regression",
    }
    joint = export_bundle(
        functional_model((*heads,)),
        name="joint",
        output=models,
        heads=heads,
        tokenizer=write_vocabulary(models),
        max_length=32,
        lengths=[],
        formats=["onnx"],
    ).path
    weights = write_bert4keras(models / "bert4keras" / "best_model.weights", pointer_weights(2, 8))
    options: dict[str, Any] = {"load": LoadOptions(init_args={"RoPE": True, "head_size": 8}), "top_k": 500}
    spans = export_bundle(
        weights, name="spans", output=models, labels=("PER", "LOC"), max_length=16, formats=["onnx"], **options
    ).path
    configs = tuple(ModelConfig(path.parent.name, path.parent) for path in (rampart, minilm, classifier, joint, spans))
    server = start_server(models, models=configs, rest_port=0, page=True, poll_seconds=0, runtime="onnx")
    yield f"http://127.0.0.1:{server.server.rest_port}"
    server.stop()


@pytest.fixture
def page(url: str, tmp_path: Path) -> Iterator[Page]:
    """The page in a browser, with the width of a phone."""
    browser = find_browser()
    if browser is None:
        skip_without("chromium")
    with open_page(browser, tmp_path / "profile") as opened:
        opened.show(url, width=390, height=844)
        opened.wait_for("document.readyState === 'complete' && document.querySelectorAll('#models li').length === 5")
        yield opened


def ask(page: Page, model: str, text: str, other: str = "") -> None:
    """Select a model, enter the texts, click the button, and wait for the answer."""
    page.value(f"document.getElementById('model').value = {model!r}")
    page.value("document.getElementById('model').dispatchEvent(new Event('change'))")
    for element, value in (("text", text), ("other", other)):
        page.value(f"document.getElementById('{element}').focus()")
        page.value(f"document.getElementById('{element}').select()")
        page.call("Input.insertText", text=value)
    page.value("document.getElementById('answer').replaceChildren()")
    page.value("document.querySelector('button').click()")
    page.wait_for("document.getElementById('answer').childNodes.length > 0")


def test_entities_are_highlighted(page: Page, url: str, tmp_path: Path) -> None:
    """The entities of the text are highlighted, also after a character that JavaScript stores as two code units."""
    ask(page, "rampart", TEXT)
    assert page.value("document.getElementById('answer').className") == ""
    marks = page.value("[...document.querySelectorAll('mark')].map((m) => m.firstChild.textContent)")
    assert {"Alex", "Rivera", "Springfield"} <= {word.strip() for mark in marks for word in mark.split()}
    shown = page.value(
        "[...document.getElementById('answer').childNodes].map((n) => n.firstChild?.textContent ?? n.textContent)"
    )
    assert "".join(shown) == TEXT
    assert page.value("document.documentElement.scrollWidth <= window.innerWidth"), "it is wider than a phone"
    page.screenshot(tmp_path / "page.png")
    if SCREENSHOT:
        shutil.copy(tmp_path / "page.png", SCREENSHOT)
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert all(requested.startswith((url, "data:", "about:")) for requested in page.requested), page.requested
    assert page.errors == []


def test_nested_entities_are_highlighted(page: Page) -> None:
    """Of nested entities every character is shown once, with the label where an entity ends."""
    entities = [
        {"label": "ORG", "start": 0, "end": 4, "score": 0.9},
        {"label": "LOC", "start": 0, "end": 2, "score": 0.8},
    ]
    shown = page.value(
        f"highlight('北京大学。', {json.dumps(entities)}).map((n) => n.textContent ?? n)",
    )
    assert shown == ["北京LOC 0.80", "大学ORG 0.90", "。"]
    ask(page, "spans", "Ann")
    shown = page.value(
        "[...document.getElementById('answer').childNodes].map((n) => n.firstChild?.textContent ?? n.textContent)"
    )
    assert "".join(shown) == "Ann"
    assert page.errors == []


def test_similarity_and_classes(page: Page) -> None:
    """The page shows the similarity of two texts, and the scores of the classes of a text."""
    ask(page, "minilm", "A cat sleeps.", "A cat is sleeping.")
    assert float(page.value("document.querySelector('#answer td:nth-child(2)').textContent")) > 0.8
    ask(page, "classifier", "any")
    assert page.value("[...document.querySelectorAll('#answer td:first-child')].map((c) => c.textContent).sort()") == [
        "bad",
        "good",
    ]


def test_all_heads_are_shown(page: Page) -> None:
    """The page shows the result of each head of a joint model below its name, and names the heads in the list."""
    ask(page, "joint", "Book a table in Rome.")
    assert page.value("document.getElementById('answer').className") == ""
    names = page.value("[...document.querySelectorAll('#answer h3')].map((h) => h.textContent)")
    assert names == ["slots", "intent", "urgency"]
    classes = page.value("[...document.querySelectorAll('#answer td:first-child')].map((c) => c.textContent).sort()")
    assert classes == sorted(INTENTS)
    assert "value: " in page.value("document.getElementById('answer').textContent")
    assert "multi-task: slots (token-classification), intent (text-classification)" in page.value(
        "document.getElementById('models').textContent"
    )
    assert page.errors == []


def test_error_is_shown(page: Page) -> None:
    """The page shows the server's error message."""
    ask(page, "rampart", "word " * 500)
    assert page.value("document.getElementById('answer').className") == "error"
    assert "tokens" in page.value("document.getElementById('answer').textContent")


def test_traffic_is_live(page: Page) -> None:
    """The page shows the rate of requests."""
    ask(page, "rampart", TEXT)
    page.wait_for("/requests per second, [1-9]/.test(document.getElementById('traffic').textContent)")


# ---- without a browser


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        pytest.param({"model": "nope", "text": "a"}, 404, "Servable not found for request: Latest(nope)", id="model"),
        pytest.param({"model": "rampart", "text": "x" * 200_000}, 429, "the text is too long", id="long"),
        pytest.param([], 400, "Is not object", id="list"),
    ],
)
def test_errors(url: str, body: Any, status: int, text: str) -> None:
    """An invalid request to the page's endpoint gets a status and a message."""
    actual, answer = fetch_json(f"{url}/ui/ask", body)
    assert actual == status
    assert text in answer["error"]


def test_spans(url: str) -> None:
    """The page's endpoint returns the entities of a model of spans, which are those of the client."""
    status, answer = fetch_json(f"{url}/ui/ask", {"model": "spans", "text": "Ann"})
    assert (status, answer["task"]) == (200, "span-classification")
    assert {(entity["label"], entity["text"]) for entity in answer["entities"]}
    assert all(entity["text"] == "Ann"[entity["start"] : entity["end"]] for entity in answer["entities"])


def test_second_text_of_a_tagger_is_ignored(url: str) -> None:
    """A second text is ignored by a model that does not take pairs."""
    status, answer = fetch_json(f"{url}/ui/ask", {"model": "rampart", "text": TEXT, "other": "left over"})
    assert (status, answer["text"]) == (200, TEXT)


def test_heads_of_a_joint_model(url: str, models: Path) -> None:
    """The answer of a joint model has the result of each head; a second text is ignored beside a tagger."""
    from bertbundle import Client

    text = "Book a table in Rome."
    status, answer = fetch_json(f"{url}/ui/ask", {"model": "joint", "text": text, "other": "left over"})
    assert (status, answer["task"]) == (200, "multi-task")
    with Client.local(models / "joint") as client:
        expected = client.heads(text)
    assert answer["heads"]["intent"]["scores"] == pytest.approx(dict(expected["intent"].scores), abs=1e-5)
    assert answer["heads"]["urgency"] == {"task": "regression", "value": pytest.approx(expected["urgency"], abs=1e-4)}
    shown = [(entity["label"], entity["start"], entity["end"]) for entity in answer["heads"]["slots"]["entities"]]
    assert shown == [(entity.label, entity.start, entity.end) for entity in expected["slots"]]


def test_page_loads_nothing_from_other_hosts(url: str) -> None:
    """The page's content security policy forbids other sources, and the page has no URL of one."""
    status, headers, body = fetch(url + "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert b"http://" not in body
    assert b"https://" not in body


def test_page_is_disabled_by_default(bundles: TinyBundles, serve: Serve) -> None:
    """Without --ui there is no page."""
    bundles.write(1)
    server = serve(bundles.base, rest_port=0).server
    assert fetch(f"http://127.0.0.1:{server.rest_port}/")[0] == 404
