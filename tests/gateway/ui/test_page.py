"""The page at / of the REST port, in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bert4keras_heads import pointer_weights, write_bert4keras
from bertbundle_serving.config.models import ModelConfig
from browser import Page, find_browser, open_page
from embedded_server import start_server
from http_calls import fetch
from joint_models import INTENTS, functional_model, write_vocabulary
from optional import skip_without
from text_api import text_api
from tiny_checkpoints import LABELS, write_checkpoint

pytestmark = pytest.mark.slow
TEXT = "Alex Rivera lives in Springfield. 😀 Call Alex."
SCREENSHOT = os.environ.get("BERTBUNDLE_SCREENSHOT")


@pytest.fixture(scope="module")
def url(rampart: Path, minilm: Path, models: Path) -> Iterator[str]:
    """The root URL of a server with the page, and a model of each task."""
    from bertbundle_export import LoadOptions, export_bundle

    def export(name: str, source: Any, **options: Any) -> Path:
        return export_bundle(source, name=name, output=models, formats=["onnx"], **options).path

    def tiny(name: str, architecture: str, **options: Any) -> Path:
        write_checkpoint(models / "sources" / name, architecture, **options)
        return export(name, models / "sources" / name, max_length=32)

    heads = {
        "slots": ("token-classification", LABELS),
        "intent": ("text-classification", INTENTS),
        "urgency": "regression",
    }
    joint_options: dict[str, Any] = {"heads": heads, "tokenizer": write_vocabulary(models), "lengths": []}
    weights = write_bert4keras(models / "bert4keras" / "best_model.weights", pointer_weights(2, 8))
    span_options: dict[str, Any] = {"load": LoadOptions(init_args={"RoPE": True, "head_size": 8}), "top_k": 500}
    versions = (
        rampart,
        minilm,
        tiny("classifier", "BertForSequenceClassification", labels=("bad", "good")),
        tiny("questions", "BertForQuestionAnswering", labels=("start", "end")),
        tiny("masks", "BertForMaskedLM"),
        export("joint", functional_model((*heads,)), max_length=32, **joint_options),
        export("spans", weights, labels=("PER", "LOC"), max_length=16, **span_options),
    )
    configs = tuple(ModelConfig(path.parent.name, path.parent) for path in versions)
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
        opened.wait_for("document.readyState === 'complete' && document.querySelectorAll('#models li b').length === 7")
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
    assert shown_text(page) == TEXT
    assert page.value("document.documentElement.scrollWidth <= window.innerWidth"), "it is wider than a phone"
    page.screenshot(tmp_path / "page.png")
    if SCREENSHOT:
        shutil.copy(tmp_path / "page.png", SCREENSHOT)
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert all(requested.startswith((url, "data:", "about:")) for requested in page.requested), page.requested
    assert page.errors == []


def shown_text(page: Page) -> str:
    """Return the text of an answer without the labels of its entities."""
    nodes = "[...document.querySelector('#answer .marked').childNodes]"
    return "".join(page.value(f"{nodes}.map((n) => n.firstChild?.textContent ?? n.textContent)"))


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
    assert shown_text(page) == "Ann"
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
    ask(page, "classifier", "word " * 500)
    assert page.value("document.getElementById('answer').className") == "error"
    assert "tokens" in page.value("document.getElementById('answer').textContent")


def test_question_answering(page: Page) -> None:
    """The page asks for a question and a context, marks the answer in the context, and shows both scores."""
    ask(page, "questions", "Where?", "Ann lives in Rome.")
    assert page.value("document.getElementById('answer').className") == ""
    assert page.value("document.getElementById('text-label').textContent") == "Question"
    assert shown_text(page) == "Ann lives in Rome."
    assert page.value("document.querySelector('#answer b').textContent") in "Ann lives in Rome."
    assert page.value("[...document.querySelectorAll('#answer td:first-child')].map((c) => c.textContent)") == [
        "answer",
        "no answer",
    ]


def test_fill_mask(page: Page) -> None:
    """The page shows the tokens for each mask, best first, with their scores as bars."""
    ask(page, "masks", "[MASK] lives in [MASK].")
    assert page.value("document.getElementById('answer').className") == ""
    assert page.value("[...document.querySelectorAll('#answer h3')].map((h) => h.textContent)") == ["mask 1", "mask 2"]
    scores = page.value("[...document.querySelector('#answer table').rows].map((r) => Number(r.cells[1].textContent))")
    assert scores == sorted(scores, reverse=True)
    assert page.value("document.querySelectorAll('#answer .bar').length") == 2 * len(scores)


def test_address_can_be_shared(page: Page, url: str) -> None:
    """The address names the model and the text, and opening it asks again."""
    ask(page, "classifier", "Is this = good & #1?")
    page.wait_for("location.hash.includes('classifier')")
    address = page.value("location.href")
    page.show("about:blank", width=390, height=844)
    page.show(address, width=390, height=844)
    page.wait_for("document.querySelectorAll('#answer td').length > 0")
    assert page.value("document.getElementById('text').value") == "Is this = good & #1?"
    assert page.value("document.getElementById('model').value") == "classifier"
    assert address.startswith(url)


def test_curl(page: Page) -> None:
    """The shown command returns the same answer, also with quotes in the text."""
    if shutil.which("curl") is None:
        skip_without("curl")
    text = 'It\'s "good" 😀'
    ask(page, "classifier", text)
    page.value("document.getElementById('curl').click()")
    page.wait_for("!document.getElementById('command').hidden")
    command = page.value("document.getElementById('command').textContent")
    printed = subprocess.run(["sh", "-c", command], capture_output=True, check=True, text=True, timeout=60).stdout
    scores = json.loads(printed)["results"][0]["scores"]
    shown = page.value(
        "[...document.querySelectorAll('#answer tr')].map((r) => [r.cells[0].textContent, r.cells[1].textContent])"
    )
    assert {label: f"{score:.4f}" for label, score in scores.items()} == dict(shown)


def test_key_is_asked_for(tmp_path: Path) -> None:
    """With API keys the page loads without one, asks for it, and sends it; the command does not quote it."""
    browser = find_browser()
    if browser is None:
        skip_without("chromium")
    (tmp_path / "keys").write_text("secret-key-of-the-page-0123\n", encoding="utf-8")
    with text_api(page=True, api_keys_file=tmp_path / "keys") as api, open_page(browser, tmp_path / "profile") as page:
        page.show(api.url, width=390, height=844)
        page.wait_for("document.getElementById('access')?.hidden === false")
        assert page.value("document.querySelectorAll('#models b').length") == 0
        page.value("document.getElementById('key').value = 'secret-key-of-the-page-0123'")
        page.value("document.getElementById('key').dispatchEvent(new Event('change'))")
        page.wait_for("document.querySelectorAll('#models b').length > 0")
        assert "secret-key" not in page.value("command()")


# ---- without a browser


def test_gateway_has_the_page() -> None:
    """The page of a gateway is the same."""
    with text_api(page=True) as api:
        status, headers, body = fetch(api.url + "/")
    assert (status, headers["content-security-policy"][:18]) == (200, "default-src 'none'")
    assert b"<title>bertbundle</title>" in body


def test_page_loads_nothing_from_other_hosts(url: str) -> None:
    """The page's content security policy forbids other sources, and the page has no URL of one."""
    status, headers, body = fetch(url + "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert b"http://" not in body
    assert b"https://" not in body


def test_page_is_disabled_by_default() -> None:
    """Without --ui there is no page."""
    with text_api() as api:
        assert fetch(api.url + "/")[0] == 404
