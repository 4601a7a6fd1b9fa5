"""Tokenizers of Japanese models: the ids of transformers' BertJapaneseTokenizer, with offsets in the text."""

from __future__ import annotations

import functools
import itertools
import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from bertbundle import Client, Entity
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Encoding
from bertbundle.contract.word_segmenter import WordSegmenter
from bertbundle.errors import InputError, ManifestError
from bertbundle.text.added_tokens import recognize_added_tokens
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export import export_bundle
from bertbundle_export.checkpoints.base import LoadOptions
from bertbundle_export.checkpoints.live import live_model
from bertbundle_export.checkpoints.to_huggingface import write_huggingface
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.japanese import load_segmenter, segmenter_notes
from bertbundle_export.source.tokenization import load_tokenizer
from embedded_server import start_server
from http_calls import fetch_json
from japanese_texts import normalized_origins, sentences, vocabulary, write_tokenizer
from optional import require_package
from tiny_checkpoints import LABELS, change_config, write_checkpoint

SENTENCES = 500
IPADIC: dict[str, Any] = {"word_tokenizer_type": "mecab", "mecab_kwargs": {"mecab_dic": "ipadic"}}
SUDACHI: dict[str, Any] = {"word_tokenizer_type": "sudachi", "sudachi_kwargs": {"sudachi_dict_type": "small"}}
CHARACTERS = {"subword_tokenizer_type": "character"}
PROJECTIONS = ("surface", "normalized", "reading", "dictionary", "dictionary_and_surface", "normalized_and_surface")


def with_options(settings: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Return settings with further options of the analyzer."""
    name = f"{settings['word_tokenizer_type']}_kwargs"
    return {**settings, name: {**settings[name], **options}}


SETTINGS: dict[str, dict[str, Any]] = {
    "mecab": IPADIC,
    "mecab-lower": {**IPADIC, "do_lower_case": True},
    "mecab-characters": {**IPADIC, **CHARACTERS},
    "mecab-characters-lower": {**IPADIC, **CHARACTERS, "do_lower_case": True},
    "mecab-as-is": with_options(IPADIC, normalize_text=False),
    "mecab-as-is-characters-lower": {**with_options(IPADIC, normalize_text=False), **CHARACTERS, "do_lower_case": True},
    "mecab-never-split": {**IPADIC, "never_split": ["TEL", "kg", "BERT"], "do_lower_case": True},
    "mecab-added": {**IPADIC, "additional_special_tokens": ["[E1]", "人々"]},
    "mecab-added-lower": {**IPADIC, "additional_special_tokens": ["[E1]", "人々"], "do_lower_case": True},
    "unidic-lite": with_options(IPADIC, mecab_dic="unidic_lite"),
    "unidic-lite-lower": {**with_options(IPADIC, mecab_dic="unidic_lite"), "do_lower_case": True},
    "unidic-lite-characters": {**with_options(IPADIC, mecab_dic="unidic_lite"), **CHARACTERS},
    "sudachi": SUDACHI,
    "sudachi-lower": {**SUDACHI, "do_lower_case": True},
    "sudachi-b": with_options(SUDACHI, sudachi_split_mode="B"),
    "sudachi-c": with_options(SUDACHI, sudachi_split_mode="C"),
    "sudachi-core": with_options(SUDACHI, sudachi_dict_type="core"),
    "sudachi-as-is": with_options(SUDACHI, normalize_text=False),
    "sudachi-characters": {**SUDACHI, **CHARACTERS},
    "sudachi-characters-trimmed": {**with_options(SUDACHI, trim_whitespace=True), **CHARACTERS},
    "sudachi-added-characters": {**SUDACHI, **CHARACTERS, "additional_special_tokens": ["[E1]", "人々"]},
    **{f"sudachi-{name}": with_options(SUDACHI, sudachi_projection=name) for name in PROJECTIONS},
    "sudachi-reading-as-is": with_options(SUDACHI, sudachi_projection="reading", normalize_text=False),
    "sudachi-nouns-lower": {**with_options(SUDACHI, sudachi_projection="normalized_nouns"), "do_lower_case": True},
    "basic": {"word_tokenizer_type": "basic"},
    "basic-lower": {"do_lower_case": True},
    "basic-characters": CHARACTERS,
    "basic-characters-lower": {**CHARACTERS, "do_lower_case": True},
    "basic-never-split": {"never_split": ["(^o^)", "。"]},
    "basic-ignores": {"tokenize_chinese_chars": True, "strip_accents": True, "do_basic_tokenize": False},
}
PACKAGES = {"ipadic": "ipadic", "unidic_lite": "unidic_lite", "small": "sudachidict_small", "core": "sudachidict_core"}


def require_analyzer(settings: Mapping[str, Any]) -> None:
    """Skip the test if the packages that transformers needs for these settings are missing."""
    kind = settings.get("word_tokenizer_type", "basic")
    if kind != "basic":
        require_package({"mecab": "fugashi", "sudachi": "sudachipy"}[kind])
        options = settings[f"{kind}_kwargs"]
        require_package(PACKAGES[options.get("mecab_dic") or options["sudachi_dict_type"]])


def tokenizer_of(path: Path) -> Tokenizer:
    """Return the client's tokenizer, as the export makes it."""
    definition, _ = recognize_added_tokens(load_tokenizer(path).to_str(), pad_id=0)
    return Tokenizer(definition, max_length=10_000, word_segmenter=load_segmenter(path))


def slow_tokenizer(path: Path) -> Any:
    """Load transformers' tokenizer."""
    from transformers import BertJapaneseTokenizer

    return BertJapaneseTokenizer.from_pretrained(str(path))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dictionary.create:DeprecationWarning")  # transformers 4.57 calls it
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_ids_of_transformers(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The ids of 500 sentences are those of transformers' slow tokenizer."""
    require_analyzer(settings)
    path = write_tokenizer(tmp_path, **settings)
    texts, slow = sentences(SENTENCES), slow_tokenizer(path)
    for text, encoding in zip(texts, tokenizer_of(path).try_encode(texts), strict=True):
        expected = slow(text)["input_ids"]
        if isinstance(encoding, InputError):  # only white space or invisible characters
            assert (len(expected), "has no tokens" in str(encoding)) == (2, True), text
            continue
        assert list(encoding.ids) == expected, text
        assert all(0 <= start < end <= len(text) for start, end in encoding.offsets[1:-1]), text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dictionary.create:DeprecationWarning")
@pytest.mark.parametrize("settings", [IPADIC, {**SUDACHI, **CHARACTERS}, {}], ids=["mecab", "sudachi", "basic"])
def test_directories_that_transformers_wrote(tmp_path: Path, settings: dict[str, Any]) -> None:
    """A directory of `save_pretrained` has the same settings, ids, and way to join tokens."""
    require_analyzer(settings)
    slow = slow_tokenizer(write_tokenizer(tmp_path / "first", **settings))
    slow.add_tokens(["[E1]"])
    slow.save_pretrained(str(tmp_path / "saved"))
    ours = tokenizer_of(tmp_path / "saved")
    assert load_segmenter(tmp_path / "saved") == load_segmenter(tmp_path / "first")
    for text in ("東京[E1]に行きました。", "[E1] ﾊﾟｿｺﾝ", "㍻[E2]"):
        assert list(ours.encode([text])[0].ids) == slow(text)["input_ids"]
    tokens = ["東京", "##都", "。", "to", "##ky", "##o"]
    assert ours.join(tokens) == slow.convert_tokens_to_string(tokens)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dictionary.create:DeprecationWarning")
@pytest.mark.parametrize("settings", [IPADIC, {**SUDACHI, **CHARACTERS}], ids=["mecab", "sudachi-characters"])
def test_pairs_and_words_of_transformers(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The ids of pairs, and of texts that are split into words, are those of transformers' slow tokenizer."""
    require_analyzer(settings)
    path = write_tokenizer(tmp_path, **settings)
    ours, slow = tokenizer_of(path), slow_tokenizer(path)
    for first, second in itertools.pairwise(sentences(100)):
        expected = slow(first, second)
        (pair,) = ours.encode([(first, second)])
        assert (list(pair.ids), list(pair.type_ids)) == (expected["input_ids"], expected["token_type_ids"])
        (split,) = ours.try_encode([[first, second]], is_split_into_words=True)
        assert isinstance(split, Encoding)
        assert list(split.ids) == slow([first, second], is_split_into_words=True)["input_ids"]
        starts = [start for start, _ in split.offsets if start > len(first)]
        assert all(len(first) + 1 <= start for start in starts)


# ---- offsets, computed without the package


def expected_tokens(text: str, words: Sequence[tuple[int, int]], slow: Any) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the tokens of words of the normalized text, by transformers' WordPiece, and their offsets in the text."""
    normalized, origins = unicodedata.normalize("NFKC", text), normalized_origins(text, "NFKC")
    for word_start, word_end in words:
        for found in re.finditer(r"\S+", normalized[word_start:word_end]):
            position = word_start + found.start()
            for token in slow.subword_tokenizer.tokenize(found.group()):
                length = len(found.group()) if token == "[UNK]" else len(token.removeprefix("##"))  # noqa: S105
                yield token, (origins[position][0], origins[position + length - 1][1])
                position += length


@functools.cache
def mecab_tagger() -> Any:
    """Load MeCab with IPAdic."""
    fugashi, ipadic = require_package("fugashi"), require_package("ipadic")
    return fugashi.GenericTagger(ipadic.MECAB_ARGS)


@functools.cache
def sudachi_tokenizer() -> Any:
    """Load Sudachi with its small dictionary."""
    sudachi, _ = require_package("sudachipy"), require_package("sudachidict_small")
    return sudachi.Dictionary(dict="small").tokenizer(sudachi.SplitMode.A)


def mecab_words(text: str) -> list[tuple[int, int]]:
    """Return where MeCab finds words in a normalized text: white space is in front of a word."""
    words, end = [], 0
    for node in mecab_tagger()(text):
        start = end + len(node.white_space)
        end = start + len(node.surface)
        words.append((start, end))
    return words


def sudachi_words(text: str) -> list[tuple[int, int]]:
    """Return where Sudachi finds words in a normalized text."""
    return [(word.begin(), word.end()) for word in sudachi_tokenizer().tokenize(text)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dictionary.create:DeprecationWarning")
@pytest.mark.parametrize(
    ("settings", "find"), [(IPADIC, mecab_words), (SUDACHI, sudachi_words)], ids=["mecab", "sudachi"]
)
def test_offsets(tmp_path: Path, settings: dict[str, Any], find: Any) -> None:
    """The offsets of 500 sentences are those of the characters that each token was made of."""
    require_analyzer(settings)
    path = write_tokenizer(tmp_path, **settings)
    texts, slow = sentences(SENTENCES, seed=1), slow_tokenizer(path)
    for text, encoding in zip(texts, tokenizer_of(path).encode(texts), strict=True):
        words = find(unicodedata.normalize("NFKC", text))
        found = list(zip(encoding.tokens[1:-1], encoding.offsets[1:-1], strict=True))
        assert found == list(expected_tokens(text, words, slow)), text


# ---- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"word_tokenizer_type": "jumanpp"}, "has word_tokenizer_type 'jumanpp', expected basic, mecab or sudachi"),
        ({"subword_tokenizer_type": "sentencepiece"}, "has subword_tokenizer_type 'sentencepiece', expected wordpiece"),
        ({"do_word_tokenize": False}, "has do_word_tokenize False, which is not supported: true only"),
        ({"do_subword_tokenize": False}, "has do_subword_tokenize False, which is not supported"),
        ({"word_tokenizer_type": "mecab"}, "states no mecab_dic in mecab_kwargs: .* Add the dictionary"),
        ({**IPADIC, "mecab_kwargs": {"mecab_dic": None}}, "states no mecab_dic"),
        ({**IPADIC, "mecab_kwargs": {"mecab_dic": "jumandic"}}, "has mecab_dic 'jumandic', expected ipadic, unidic_"),
        (with_options(IPADIC, mecab_option="-d /usr"), "has mecab_option '-d /usr', which is not supported: none only"),
        (with_options(IPADIC, do_lower_case=True), "has do_lower_case True, a setting that bertbundle does not know"),
        ({**IPADIC, "mecab_kwargs": ["ipadic"]}, r"has mecab_kwargs \['ipadic'\], expected an object"),
        (with_options(SUDACHI, sudachi_split_mode="D"), "has sudachi_split_mode 'D', expected A, B or C"),
        (with_options(SUDACHI, sudachi_dict_type="own"), "has sudachi_dict_type 'own', expected small, core or full"),
        (with_options(SUDACHI, sudachi_projection="own"), "has sudachi_projection 'own', expected surface, normalized"),
        (
            with_options(SUDACHI, sudachi_config_path="x.json"),
            "has sudachi_config_path 'x.json', which is not supported",
        ),
        (with_options(SUDACHI, sudachi_resource_dir="x"), "has sudachi_resource_dir 'x', which is not supported"),
        ({**IPADIC, "future": 1}, "has future 1, a setting that bertbundle does not know"),
    ],
)
def test_refused_settings(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    """What cannot be followed is refused by name."""
    with pytest.raises(
        CheckpointError, match=f"tokenizer_config.json {message}".replace("json subword", "json has subword")
    ):
        load_segmenter(write_tokenizer(tmp_path, **settings))


def test_options_of_the_other_analyzer_do_not_count(tmp_path: Path) -> None:
    """Transformers ignores the options of an analyzer that is not used, and so does the export."""
    path = write_tokenizer(tmp_path, mecab_kwargs={"mecab_dic": "x"}, sudachi_kwargs=3, jumanpp_kwargs={"a": 1})
    segmenter = load_segmenter(path)
    assert segmenter is not None
    assert (segmenter.analyzer, segmenter.dictionary, segmenter.lowercase) == ("basic", "", False)


def test_lowercase_can_be_overridden(tmp_path: Path) -> None:
    """`--lowercase` and `--no-lowercase` override do_lower_case."""
    path = write_tokenizer(tmp_path, do_lower_case=True)
    found = [load_segmenter(path, lowercase=value) for value in (None, True, False)]
    assert [segmenter.lowercase for segmenter in found if segmenter] == [True, True, False]


@pytest.mark.parametrize("config", [{"tokenizer_class": "BertTokenizer"}, {}], ids=["BertTokenizer", "config.json"])
def test_other_tokenizers_have_no_segmenter(tmp_path: Path, config: dict[str, Any]) -> None:
    """Other tokenizers split texts by themselves; settings of BertJapaneseTokenizer contradict another class."""
    path = write_tokenizer(tmp_path)
    (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_segmenter(path) is None
    (path / "tokenizer_config.json").write_text(json.dumps({**config, **IPADIC}), encoding="utf-8")
    (path / "config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
    with pytest.raises(
        CheckpointError, match="has word_tokenizer_type 'mecab', which belongs to BertJapaneseTokenizer"
    ):
        load_segmenter(path)


@pytest.mark.parametrize("name", [None, "BertJapaneseTokenizer"])
def test_a_class_that_is_not_named_is_noted(tmp_path: Path, name: str | None) -> None:
    """A note says that the class was taken from the settings; none does if a file names it."""
    path = write_tokenizer(tmp_path, tokenizer_class=name, word_tokenizer_type="basic")
    notes = segmenter_notes(path / "vocab.txt", load_segmenter(path))
    assert [note.partition(" names")[0] for note in notes] == ([] if name else [f"no file of {path.name}"])
    assert segmenter_notes(path, None) == ()


def test_missing_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary that is not installed is an error of the export, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "ipadic", None)
    with pytest.raises(CheckpointError, match=r"ipadic is not installed.* pip install 'bertbundle\[japanese\]'"):
        load_segmenter(write_tokenizer(tmp_path, **IPADIC))


# ---- from the checkpoint to the answer

POOLED = (("Transformer", ""), ("Pooling", "1_Pooling"))
TEXT = "ﾊﾟｿｺﾝ と㋿の東京 BERT、か\u3099"


def write_source(path: Path, architecture: str = "BertForTokenClassification", **settings: Any) -> Path:
    """Write a small model with a Japanese tokenizer, named in config.json as cl-tohoku's first models do."""
    write_checkpoint(path, architecture, vocab_size=len(vocabulary()))
    change_config(path, tokenizer_class="BertJapaneseTokenizer")
    return write_tokenizer(path, tokenizer_class=None, **settings)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Path:
    """A tagger with MeCab, IPAdic and WordPiece."""
    del tensorflow
    require_analyzer(IPADIC)
    return write_source(tmp_path_factory.mktemp("source"), **IPADIC)


@pytest.fixture(scope="module")
def bundle(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle."""
    output = tmp_path_factory.mktemp("models")
    return export_bundle(source, name="tiny", output=output, max_length=32, label_decoding="argmax").path


def source_labels(source: Path, text: str) -> list[tuple[tuple[int, int], str]]:
    """Return the offsets and the label of each token, by transformers' tokenizer and model."""
    from transformers import TFBertForTokenClassification

    tokenizer = slow_tokenizer(write_tokenizer(source.parent / "tokenizer", **IPADIC))
    model = TFBertForTokenClassification.from_pretrained(str(source))
    logits = model(tokenizer(text, return_tensors="tf")).logits.numpy()[0]
    words = mecab_words(unicodedata.normalize("NFKC", text))
    offsets = [offsets for _, offsets in expected_tokens(text, words, tokenizer)]
    return list(zip(offsets, [LABELS[label] for label in logits.argmax(-1)[1:-1]], strict=True))


@pytest.mark.slow
def test_bundle(bundle: Path) -> None:
    """The manifest has the segmenter and the versions; what does not know segmenters cannot read the bundle."""
    manifest = Manifest.read(bundle)
    assert (manifest.schema_version, manifest.tokenizer_lowercase) == (2, False)
    assert manifest.word_segmenter == WordSegmenter("mecab", "ipadic", metadata.version("ipadic"))
    assert {name: manifest.generator[name] for name in ("ipadic", "fugashi")} == {
        name: metadata.version(name) for name in ("ipadic", "fugashi")
    }
    definition = (bundle / "tokenizer.json").read_text(encoding="utf-8")
    with pytest.raises(Exception, match="PreTokenizer"):
        tokenizers.Tokenizer.from_str(definition)
    with pytest.raises(ManifestError, match=r"tokenizer\.json cannot be read"):
        Tokenizer(definition, max_length=32)


@pytest.mark.slow
def test_served_answers(source: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's answers are those of transformers' tokenizer and model, at the offsets of the text.

    Without the extra, the client and the server's text API name it, and the text API still lists the model.
    """
    server = start_server(bundle.parent, rest_port=0, page=True, poll_seconds=0, runtime="onnx")
    try:
        with Client(f"127.0.0.1:{server.server.port}", "tiny") as client:
            check_entities(client.entities(TEXT), source_labels(source, TEXT))
            words = ["ﾊﾟｿｺﾝと", "東京", "BERT"]
            split = client.entities([words], is_split_into_words=True)[0]
            assert all(entity.text == " ".join(words)[entity.start : entity.end] for entity in split)
            long = "、".join([TEXT] * 20)
            windows = client.entities(long, truncation="window")
            assert all(long[entity.start : entity.end] == entity.text for entity in windows)
            assert max(entity.end for entity in windows) > len(long) - len(TEXT)
            described: dict[str, Any] = {"manifest": Manifest.read(bundle), "tokenizer": bundle}
            with Client(f"127.0.0.1:{server.server.port}", "tiny", **described) as other:
                assert other.entities(TEXT) == client.entities(TEXT)
        url = f"http://127.0.0.1:{server.server.rest_port}/v1/models"
        assert "entities" in fetch_json(f"{url}/tiny:entities", {"texts": [TEXT]})[1]["results"][0]
    finally:
        server.stop()
    monkeypatch.setitem(sys.modules, "fugashi", None)
    server = start_server(bundle.parent, rest_port=0, page=True, poll_seconds=0, runtime="onnx")
    try:
        url = f"http://127.0.0.1:{server.server.rest_port}/v1/models"
        status, answer = fetch_json(f"{url}/tiny:entities", {"texts": [TEXT]})
        assert (status, "pip install 'bertbundle[japanese]'" in answer["error"]["message"]) == (400, True)
        assert fetch_json(url)[1]["data"][0]["task"] == "token-classification"
        with (
            Client(f"127.0.0.1:{server.server.port}", "tiny") as client,
            pytest.raises(InputError, match="fugashi is not installed"),
        ):
            client.entities(TEXT)
    finally:
        server.stop()


def check_entities(entities: Sequence[Entity], labels: Sequence[tuple[tuple[int, int], str]]) -> None:
    """Check that an entity covers a token exactly if the token has its label."""
    assert entities
    for (start, end), label in labels:
        covering = [entity.label for entity in entities if entity.start <= start and end <= entity.end]
        assert covering == ([] if label == "O" else [label.partition("-")[2]]), (start, end, label)
    assert {entity.start for entity in entities} <= {start for (start, _), label in labels if label != "O"}
    assert {entity.end for entity in entities} <= {end for (_, end), label in labels if label != "O"}


@pytest.mark.slow
def test_fill_mask(tmp_path: Path, tensorflow: Any) -> None:
    """The mask token is found in a text before the text is split into words."""
    del tensorflow
    require_analyzer(IPADIC)
    path = write_source(tmp_path / "source", "BertForMaskedLM", **IPADIC)
    bundle = export_bundle(path, name="masked", output=tmp_path, max_length=32, formats=("onnx",)).path
    from transformers import TFBertForMaskedLM

    slow = slow_tokenizer(write_tokenizer(tmp_path / "tokenizer", **IPADIC))
    inputs = slow("東京に[MASK]ました", return_tensors="tf")
    logits = TFBertForMaskedLM.from_pretrained(str(path))(inputs).logits.numpy()[0]
    (row,) = [index for index, token in enumerate(inputs["input_ids"].numpy()[0]) if token == slow.mask_token_id]
    with Client.local(bundle) as client:
        (fills,) = client.fill_mask("東京に[MASK]ました")
        assert fills[0].token == slow.convert_ids_to_tokens(int(logits[row].argmax()))


@pytest.mark.slow
def test_what_is_not_supported_with_a_segmenter(source: Path, tmp_path: Path) -> None:
    """Options that concern the whole tokenizer are refused, and leave no files."""
    with pytest.raises(CheckpointError, match="--characters is not supported with a BertJapaneseTokenizer"):
        export_bundle(source, name="x", output=tmp_path, characters=True)
    with pytest.raises(CheckpointError, match="--to-hf is not supported with a BertJapaneseTokenizer"):
        write_huggingface(source, tmp_path / "hf", LoadOptions())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "sentence_bert_config",
            {"do_lower_case": True},
            "do_lower_case of sentence_bert_config.json is not supported",
        ),
        (
            "config_sentence_transformers",
            {"prompts": {"query": "クエリ: "}, "default_prompt_name": "query"},
            "default_prompt_name is not supported with a BertJapaneseTokenizer",
        ),
    ],
)
def test_sentence_transformers(tmp_path: Path, tensorflow: Any, file: str, content: Any, message: str) -> None:
    """A pooling is followed; what sentence-transformers does with the text in front of the tokenizer is refused."""
    del tensorflow
    path = write_source(tmp_path / "source", "BertModel")
    modules = [{"type": f"sentence_transformers.models.{name}", "path": folder} for name, folder in POOLED]
    (path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}', encoding="utf-8")
    manifest = export_bundle(path, name="x", output=tmp_path / "m", formats=("onnx",), max_length=16).manifest
    assert (manifest.pooling, manifest.word_segmenter) == ("cls", WordSegmenter("basic", normalize=False))
    (path / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        export_bundle(path, name="y", output=tmp_path / "m", formats=("onnx",), max_length=16)


@pytest.mark.slow
def test_live_models(source: Path) -> None:
    """The tokenizer of a live model may be such a directory."""
    from transformers import TFBertForTokenClassification

    model = TFBertForTokenClassification.from_pretrained(str(source))
    live = live_model(model, LoadOptions(task="token-classification", labels=LABELS), source)
    assert live.word_segmenter == load_segmenter(source)
    assert live.word_segmenter is not None
