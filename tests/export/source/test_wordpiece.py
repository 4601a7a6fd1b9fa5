"""BERT's tokenizer of a vocab.txt and its settings: the ids of transformers' slow tokenizer."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.tokenization import load_tokenizer, split_characters

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("BERTBUNDLE_EXAMPLES", "2000")) // 20
"""Texts per setting."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = "abhlostéáσςабв的天安门\U0002b820\U0002b91f한국1.,-!()[]<>/"
WORDS = ["lol", "hello", "天安", "[outline]", "a-b", "é-b", "한국"]
PARTS = ["##a", "##l", "##ol", "##o", "##é", "##国", "##국", "##ς"]
VOCABULARY = [*SPECIAL, *CHARACTERS, "A", "É", "L", "Σ", *WORDS, *PARTS]
FIRST = str(len(VOCABULARY))
DECOMPOSED = ["\u0301", "e\u0301", "\u1112\u1161\u11ab", "\u200d"]
SPACES = [" ", "\t", "\u3000", "\u2028", "\u00a0", "\x1c"]
PIECES = [*CHARACTERS, *DECOMPOSED, *"AÉLΣ", *SPACES, "lol", "LOL", "a-b", "[outline]", "<e1>", "<E1>", "天安门"]
TEXTS = st.lists(st.sampled_from([*PIECES, "lol-lol", "hello", "café", " lol ", "b!"]), max_size=12).map("".join)
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "cased": {"do_lower_case": False},
    "accents": {"do_lower_case": True, "strip_accents": False},
    "stripped": {"do_lower_case": False, "strip_accents": True},
    "chinese": {"do_lower_case": False, "tokenize_chinese_chars": False},
    "not-basic": {"do_basic_tokenize": False},
    "not-basic-lower": {"do_basic_tokenize": False, "do_lower_case": True},
    "never-split": {"never_split": ["[outline]", "lol-lol", "a-b", "lol", "b", "LOL", "天安门", "", "a b", "!"]},
    "never-split-unknown": {"never_split": ["b!", "ol", "(s)", "-"]},
    "never-split-cased": {"never_split": ["LOL", "lol", "é-b", "café"], "do_lower_case": False},
    "never-split-chinese": {"never_split": ["天安门", "天安"], "do_lower_case": False, "tokenize_chinese_chars": False},
    "names": {"unk_token": "!", "cls_token": "<", "sep_token": "/", "mask_token": "<mask>", "pad_token": "."},
}
ADDED: dict[str, dict[str, Any]] = {
    "special": {"special": True, "normalized": False},
    "special-normalized": {"special": True, "normalized": True},
    "plain": {"special": False, "normalized": True},
    "plain-stripping": {"special": False, "normalized": True, "lstrip": True, "rstrip": True},
    "special-stripping": {"special": True, "normalized": False, "lstrip": True, "rstrip": True},
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the files of a tokenizer without tokenizer.json."""

    def write_files(config: Mapping[str, Any] | None = None, *, vocabulary: bytes | None = None) -> Path:
        path = Path(tempfile.mkdtemp(dir=tmp_path))
        (path / "vocab.txt").write_bytes(vocabulary or ("\n".join(VOCABULARY) + "\n").encode())
        if config is not None:
            (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return path

    return write_files


def slow_tokenizer(path: Path) -> Any:
    """Load transformers' slow tokenizer."""
    from transformers import BertTokenizer

    return BertTokenizer.from_pretrained(str(path))


def assert_same(path: Path, texts: st.SearchStrategy[str] = TEXTS) -> None:
    """Compare the ids of the loaded tokenizer with those of the slow one."""
    ours, slow = load_tokenizer(path), slow_tokenizer(path)

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(texts)
    def compare(text: str) -> None:
        assert ours.encode(text).ids == slow(text)["input_ids"], text

    compare()


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
def test_settings(write: Write, config: dict[str, Any]) -> None:
    """Every setting that is followed gives the ids of transformers' slow tokenizer."""
    assert_same(write(config))


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("flags", ADDED.values(), ids=ADDED)
def test_added_tokens(write: Write, flags: dict[str, Any], *, lowercase: bool) -> None:
    """Added tokens are found where transformers' slow tokenizer finds them."""
    contents = ["<e1>", "lol-lol", "天安门", *(["LOL"] if flags["special"] else [])]
    base = {"lstrip": False, "rstrip": False, "single_word": False, **flags}
    tokens = {str(len(VOCABULARY) + index): {"content": content, **base} for index, content in enumerate(contents)}
    tokens[str(VOCABULARY.index("[outline]"))] = {"content": "[outline]", **base}
    special = {"additional_special_tokens": [*contents, "[outline]"]} if flags["special"] else {}
    assert_same(write({"do_lower_case": lowercase, "added_tokens_decoder": tokens, **special}))


def test_files_of_transformers_3(write: Write) -> None:
    """The added_tokens.json and special_tokens_map.json of old versions are followed."""
    path = write({"do_lower_case": True})
    (path / "added_tokens.json").write_text(json.dumps({"[E1]": len(VOCABULARY), "<subj>": len(VOCABULARY) + 1}))
    (path / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["[E1]"]}))
    assert_same(path, TEXTS.map(lambda text: f"{text}[E1]{text}<subj> <Subj>[e1]"))
    assert load_tokenizer(path).encode("a [E1] b").tokens == ["[CLS]", "a", "[E1]", "b", "[SEP]"]


def test_offsets_of_a_word_that_is_never_split(write: Write) -> None:
    """A word that is never split has its own offsets, also if it is unknown."""
    encoding = load_tokenizer(write({"never_split": ["[outline]", "lol-lol"]})).encode("a lol-lol [outline]")
    assert encoding.tokens == ["[CLS]", "a", "[UNK]", "[outline]", "[SEP]"]
    assert encoding.offsets[1:-1] == [(0, 1), (2, 9), (10, 19)]


@pytest.mark.parametrize(
    "vocabulary",
    [
        pytest.param(b"\xef\xbb\xbf%s\n", id="byte-order-mark"),
        pytest.param(b"%s\n\n\n", id="blank-lines-at-the-end"),
        pytest.param(b"%s\n \n\t\n", id="white-space-at-the-end"),
        pytest.param(b"%s", id="no-newline-at-the-end"),
    ],
)
def test_vocabulary_files(write: Write, vocabulary: bytes) -> None:
    """A byte order mark and blank lines at the end of a vocab.txt change no id, and are no tokens."""
    tokenizer = load_tokenizer(write(vocabulary=vocabulary % "\n".join(VOCABULARY).encode()))
    assert tokenizer.get_vocab(with_added_tokens=True) == {token: index for index, token in enumerate(VOCABULARY)}


@pytest.mark.parametrize("newline", ["\r\n", "\n\n", "\n\u2028\n"])
def test_lines_inside_a_vocabulary_count(write: Write, newline: str) -> None:
    """Each line of a vocab.txt has an id, as transformers reads it: blank ones and separators too."""
    lines = "\n".join(VOCABULARY[:9]) + newline + "\n".join(VOCABULARY[9:]) + "\n"
    path = write({"do_lower_case": False}, vocabulary=lines.encode())
    assert load_tokenizer(path).encode("hello").ids == slow_tokenizer(path)("hello")["input_ids"]


def test_a_vocab_txt_has_the_settings_beside_it(write: Write) -> None:
    """The settings of tokenizer_config.json are followed if only the vocab.txt is named."""
    path = write({"do_lower_case": False})
    assert load_tokenizer(path / "vocab.txt").encode("A").tokens == ["[CLS]", "A", "[SEP]"]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        pytest.param({"never_split": ["café"]}, "never_split 'café', whose accents are stripped", id="accents"),
        pytest.param({"never_split": ["a" * 101]}, "over 100 characters", id="long"),
        pytest.param(
            {"added_tokens_decoder": {FIRST: {"content": "<e1>", "single_word": True}}},
            "'<e1>' with single_word true",
            id="single-word",
        ),
        pytest.param(
            {"added_tokens_decoder": {FIRST: {"content": "<E1>", "normalized": False, "special": False}}},
            "'<E1>' with capital letters and normalized false",
            id="capitals",
        ),
        pytest.param(
            {"added_tokens_decoder": {FIRST: {"content": "à", "normalized": True, "special": False}}},
            "'à' with characters that the tokenizer changes",
            id="added-accents",
        ),
    ],
)
def test_what_cannot_be_followed(write: Write, config: dict[str, Any], named: str) -> None:
    """A setting that cannot be followed is refused by name."""
    with pytest.raises(CheckpointError, match=named):
        load_tokenizer(write(config))


def test_ids_of_added_tokens(write: Write) -> None:
    """Added tokens whose ids have a gap are refused: the tokenizers library numbers them without."""
    path = write({"do_lower_case": True})
    (path / "added_tokens.json").write_text(json.dumps({"<e1>": len(VOCABULARY) + 1}))
    with pytest.raises(
        CheckpointError, match=rf"added_tokens.json gives the added token '<e1>' the id {int(FIRST) + 1}"
    ):
        load_tokenizer(path)


def test_ids_of_a_tokenizer_json(write: Write) -> None:
    """A tokenizer.json whose added tokens have a gap is refused too, by its directory and by its name."""
    path = write()
    tokenizer = load_tokenizer(path)
    tokenizer.add_tokens(["<e1>"])
    stored = json.loads(tokenizer.to_str())
    stored["added_tokens"][-1]["id"] += 1
    (path / "tokenizer.json").write_text(json.dumps(stored), encoding="utf-8")
    for source in (path, path / "tokenizer.json"):
        with pytest.raises(CheckpointError, match=r"tokenizer.json gives the added token '<e1>' the id"):
            load_tokenizer(source)


def test_contradictions(write: Write) -> None:
    """Lower-casing and single characters contradict settings that keep words as they are."""
    path = write({"do_basic_tokenize": False})
    with pytest.raises(CheckpointError, match="do_basic_tokenize false, which never lower-cases"):
        load_tokenizer(path, lowercase=True)
    with pytest.raises(CheckpointError, match="--characters splits all words"):
        split_characters(load_tokenizer(path))
    with pytest.raises(CheckpointError, match="--characters splits all words"):
        split_characters(load_tokenizer(write({"never_split": ["a-b"]})))


@pytest.mark.parametrize("keeps", [True, False])
def test_lower_case_vocabulary_with_accents(write: Write, *, keeps: bool) -> None:
    """A lower-case vocabulary with accents is refused unless its files say whether texts keep them."""
    vocabulary = "\n".join([*SPECIAL, "caf\u00e9", "cafe"]).encode()
    path = write(vocabulary=vocabulary)
    for lowercase in (None, True):
        with pytest.raises(
            CheckpointError, match="tokens with accents, such as 'café', which Google's tokenizer removes"
        ):
            load_tokenizer(path, lowercase=lowercase)
    assert load_tokenizer(path, lowercase=False).encode("café").tokens[1] == "café"
    path = write({"do_lower_case": True, "strip_accents": not keeps}, vocabulary=vocabulary)
    assert load_tokenizer(path).encode("Café").ids == slow_tokenizer(path)("Café")["input_ids"] == [2, 6 - keeps, 3]
