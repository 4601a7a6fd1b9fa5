"""Data files of each format and task: what is read, and the one message for a bad file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle.data.examples import DataOptions, Dataset, DataTask, Span
from bertbundle.data.reader import read_dataset
from bertbundle.errors import InputError
from optional import require_package

TAGGER = DataTask("token-classification", ("PER", "LOC"))
CLASSIFIER = DataTask("text-classification", ("no", "yes"))
MULTI_LABEL = DataTask("text-classification", ("no", "yes"), multi_label=True)
REGRESSOR = DataTask("regression")
EMBEDDER = DataTask("feature-extraction")
READER = DataTask("question-answering")
FILLER = DataTask("fill-mask", mask_token="[MASK]")  # noqa: S106 - no password
WORDS = "Wang B-PER\nlives O\n\nin O\nBerlin B-LOC\n"

Read = Callable[..., Dataset]
Fail = Callable[..., str]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that writes a file and reads it as a data set."""

    def read(name: str, content: str | bytes, task: DataTask = TAGGER, **options: Any) -> Dataset:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_dataset(str(path), task, DataOptions(**options))

    return read


@pytest.fixture
def fail(read: Read, tmp_path: Path) -> Fail:
    """Return a function that reads an invalid file and returns the message, without the directory."""

    def fail(*arguments: Any, **options: Any) -> str:
        with pytest.raises(InputError) as raised:
            read(*arguments, **options)
        message = str(raised.value)
        assert message.count(arguments[0]) == 1
        assert "\n" not in message
        return message.replace(f"{tmp_path}/", "")

    return fail


def golds(found: Dataset) -> list[Any]:
    """Return the labels of each text."""
    return [example.gold for example in found.examples]


# ---- CoNLL columns


def test_words_and_lines(read: Read) -> None:
    """Words stay words; spans refer to the words joined by spaces; each text knows the line of its first word."""
    found = read("a.conll", WORDS)
    assert found.is_split_into_words
    assert [(example.text, example.shown, example.line) for example in found.examples] == [
        (["Wang", "lives"], "Wang lives", 1),
        (["in", "Berlin"], "in Berlin", 4),
    ]
    assert golds(found) == [(Span("PER", 0, 4),), (Span("LOC", 3, 9),)]


def test_characters_are_joined(read: Read) -> None:
    """Tokens of one character each are a text without spaces, also in BMES; an ideographic space is a character."""
    found = read("a.char.bmes", "王 B-PER\n建 M-PER\n国 E-PER\n\u3000 O\n京 S-LOC\n\n")
    assert [example.text for example in found.examples] == ["王建国\u3000京"]
    assert golds(found) == [(Span("PER", 0, 3), Span("LOC", 4, 5))]
    assert not found.is_split_into_words
    assert read("a.bmes", "王 S-PER\n", units="words").examples[0].text == ["王"]


def test_positions_of_weibo_ner_are_dropped(read: Read) -> None:
    """A character with its position within its word, as in Weibo NER, is the character."""
    found = read("weibo.conll", "王0\tB-PER\n建1\tI-PER\n在0\tO\n\ufffd\ufffd0\tO\n")
    assert (found.examples[0].text, golds(found)) == ("王建在\ufffd\ufffd", [(Span("PER", 0, 2),)])
    assert read("a.conll", "A1\tO\nB2\tO\n").examples[0].text == ["A1", "B2"]


@pytest.mark.parametrize(
    "content",
    [
        WORDS + "\n\n  \n",
        WORDS.replace("\n", "\r\n"),
        WORDS.replace("\n", "\r"),
        "\ufeff" + WORDS,
        "-DOCSTART- -X- -X- O\n\n" + WORDS,
        WORDS.replace(" ", "\t"),
        WORDS.replace(" ", "   "),
        WORDS.rstrip("\n"),
    ],
)
def test_harmless_differences(read: Read, content: str) -> None:
    """Empty lines at the end, CRLF, a byte order mark, -DOCSTART-, tabs or spaces make no difference."""
    expected = read("expected.conll", WORDS)
    found = read("a.conll", content)
    assert [(example.text, example.gold) for example in found.examples] == [
        (example.text, example.gold) for example in expected.examples
    ]
    assert found.notes == ()


def test_columns_may_be_chosen(read: Read) -> None:
    """--text and --label are numbers of columns, from 1 or from the end."""
    found = read("a.conll", "1 Wang B-PER x\n2 lives O y\n", text="2", label="-2")
    assert (found.examples[0].text, golds(found)) == (["Wang", "lives"], [(Span("PER", 0, 4),)])


def test_txt_of_tagged_tokens_is_recognized(read: Read) -> None:
    """A .txt file whose last column has tags is read as columns, another one as texts."""
    assert golds(read("train.txt", WORDS)) == [(Span("PER", 0, 4),), (Span("LOC", 3, 9),)]
    assert golds(read("test.bio.txt", WORDS))
    texts = read("a.txt", "I see\n\nlast line O\nB-PER is a tag\n", need_labels=False)
    assert ([example.text for example in texts.examples], texts.labelled) == (
        ["I see", "last line O", "B-PER is a tag"],
        False,
    )


def test_inconsistent_tags_are_noted(read: Read) -> None:
    """An I tag that continues nothing starts a span, and a note has the first line; strictly, it forms none."""
    content = "Wang I-PER\nlives O\nin O\nBerlin B-LOC\n"
    found = read("a.conll", content)
    assert golds(found) == [(Span("PER", 0, 4), Span("LOC", 14, 20))]
    assert found.notes[0].partition("a.conll, ")[2] == (
        "line 1: I-PER begins no span of scheme BIO. Such tags (1) start a span, as in conlleval and seqeval."
    )
    strict = read("a.conll", content, strict=True)
    assert golds(strict) == [(Span("LOC", 14, 20),)]
    assert "form no span (strict)" in strict.notes[0]


def test_iob1_is_recognized(read: Read) -> None:
    """Tags in which B only separates spans of one type are IOB1, in both modes and without a note."""
    content = "a I-PER\nb I-PER\nc B-PER\nd O\nee I-LOC\n"
    for strict in (False, True):
        found = read("a.conll", content, strict=strict)
        assert golds(found) == [(Span("PER", 0, 3), Span("PER", 4, 5), Span("LOC", 8, 10))]
        assert found.notes == ()


def test_labels_are_renamed_and_left_out(read: Read) -> None:
    """--rename replaces whole tags or their labels; a label that becomes empty is left out."""
    content = "Wang 1\nlives 0\nin 0\nBerlin B-city\nX B-misc\n"
    found = read("a.conll", content, rename={"0": "O", "1": "B-PER", "city": "LOC", "misc": ""})
    assert golds(found) == [(Span("PER", 0, 4), Span("LOC", 14, 20))]
    assert found.left_out == ("misc",)
    merged = read("a.conll", "New B-city\nYork I-place\n", rename={"city": "LOC", "place": "LOC"})
    assert golds(merged) == [(Span("LOC", 0, 8),)]
    assert found.notes == merged.notes == ()


@pytest.mark.parametrize(
    ("name", "content", "task"),
    [("a.conll", WORDS, TAGGER), ("a.csv", "text,label\nx,yes\n", CLASSIFIER)],
)
def test_rename_without_effect(read: Read, name: str, content: str, task: DataTask) -> None:
    """A label of --rename that the file does not have is noted."""
    (note,) = read(name, content, task, rename={"CITY": "LOC"}).notes
    assert note.startswith("--rename CITY has no effect: ")
    assert note.endswith(f"{name} has no label 'CITY'.")


def test_bad_columns_have_one_message(fail: Fail) -> None:
    """A message has the file, the line, what is wrong and the next step."""
    assert fail("a.conll", WORDS + "today\n") == (
        "a.conll, line 6 has 1 columns, line 1 has 2: 'today'. Give each token one line with the same columns, and "
        "separate texts by an empty line."
    )
    assert fail("a.conll", WORDS.replace("LOC", "CITY")) == (
        "a.conll, line 5: label 'CITY' is not one of the model's: PER, LOC. Pass --rename CITY=LABEL to rename it, or "
        "--rename CITY= to leave it out."
    )
    assert fail("a.conll", "\tB-PER\n").startswith("a.conll, line 1 has an empty token")
    assert fail("a.conll", "\n \n") == "a.conll is empty. Pass a file with texts."
    assert fail("a.conll", "-DOCSTART- O\n").startswith("a.conll has no token.")
    assert fail("a.conll", WORDS.encode() + b"B\xe9la B-PER\n") == (
        "a.conll, line 6 is not UTF-8: invalid continuation byte (byte 0xe9). Convert it first."
    )
    assert fail("a.conll", WORDS.encode("utf-16")) == (
        "a.conll is UTF-16, expected UTF-8: convert it, for example with iconv."
    )
    assert fail("a.conll", WORDS, CLASSIFIER).endswith("Pass data for this task.")
    assert fail("a.conll", WORDS, label="3").startswith("a.conll, line 1 has 2 columns, expected columns 1 and 3")
    assert fail("a.conll", WORDS, scheme="IOE2").startswith("a.conll, line 1: tag 'B-PER' is not one of scheme IOE2")
    assert fail("a.dat", "Wang lives\n").startswith("a.dat does not have one of the suffixes")


def test_empty_token_outside_is_harmless(read: Read) -> None:
    """An empty token whose tag is O, as in the Broad Twitter Corpus, is no error."""
    assert golds(read("a.conll", "\tO\nWang\tB-PER\n")) == [(Span("PER", 1, 5),)]


# ---- rows


def test_entities_in_jsonl(read: Read) -> None:
    """Entities are objects or lists of start, end and label; an empty list is a text without entities."""
    rows = [
        {"text": "Wang lives", "entities": [{"start": 0, "end": 4, "label": "PER", "text": "Wang"}]},
        {"text": "in Berlin", "entities": [[3, 9, "LOC"]]},
        {"text": "today", "entities": []},
    ]
    found = read("a.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    assert golds(found) == [(Span("PER", 0, 4),), (Span("LOC", 3, 9),), ()]
    assert [example.line for example in found.examples] == [1, 2, 3]


def test_tokens_and_tags_in_jsonl_and_parquet(read: Read, tmp_path: Path) -> None:
    """Lists of tokens and tags are read like columns."""
    row = {"tokens": ["in", "Berlin"], "ner_tags": ["O", "B-LOC"]}
    assert golds(read("a.jsonl", json.dumps(row))) == [(Span("LOC", 3, 9),)]
    arrow = require_package("pyarrow")
    require_package("pyarrow.parquet").write_table(arrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    found = read_dataset(str(tmp_path / "a.parquet"), TAGGER)
    assert (golds(found), found.examples[0].text, found.place) == ([(Span("LOC", 3, 9),)], ["in", "Berlin"], "row")


def test_classes_in_csv(read: Read) -> None:
    """A CSV file has a column of labels; a row may have several lines, and the line is that of its beginning."""
    found = read("a.csv", 'id,text,label\n1,"two\nlines",yes\n2,one,no\n', CLASSIFIER)
    assert golds(found) == [("yes",), ("no",)]
    assert [example.line for example in found.examples] == [2, 4]
    renamed = read("b.csv", "body,class\nx,1\n", CLASSIFIER, text="body", label="class", rename={"1": "yes"})
    assert (renamed.examples[0].text, golds(renamed)) == ("x", [("yes",)])


def test_multi_label_and_numbers(read: Read) -> None:
    """A multi-label text has a list of labels, maybe empty; numbers may be texts; pairs have two columns."""
    rows = [{"text": "x", "labels": ["no", "yes"]}, {"text": "y", "labels": []}]
    assert golds(read("a.jsonl", "\n".join(map(json.dumps, rows)), MULTI_LABEL)) == [("no", "yes"), ()]
    assert golds(read("a.csv", "text,score\nx,1.5\n", REGRESSOR)) == [1.5]
    pairs = read("b.csv", "sentence1,sentence2,score\nx,y,5\n", EMBEDDER)
    assert (pairs.examples[0].text, golds(pairs)) == (("x", "y"), [5.0])


def test_questions_and_masks(read: Read) -> None:
    """Questions have contexts and answers, in rows or in SQuAD's JSON; a masked text has one token for each mask."""
    row = {"question": "Where?", "context": "in Berlin", "answers": {"text": ["Berlin", "Berlin"]}}
    found = read("a.jsonl", json.dumps(row), READER)
    assert (found.examples[0].text, golds(found), found.version_2) == (("Where?", "in Berlin"), [("Berlin",)], False)
    answer = {"text": "Berlin", "answer_start": 3}
    questions = [
        {"id": "1", "question": "Where?", "answers": [answer]},
        {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
        {"id": "3", "question": "Why?", "answers": []},
    ]
    squad = {"data": [{"paragraphs": [{"context": "in Berlin", "qas": questions}]}]}
    found = read("a.json", json.dumps(squad), READER)
    assert (golds(found), found.version_2, found.place) == ([("Berlin",), (), ()], True, "question")
    assert golds(read("a.jsonl", '{"text": "in [MASK]", "label": "Berlin"}', FILLER)) == [("Berlin",)]


def test_labels_may_be_ignored(read: Read) -> None:
    """With ignore_labels, labels are not even looked at; without labels, need_labels decides."""
    options = {"need_labels": False, "ignore_labels": True}
    for name, content in (("a.conll", WORDS.replace("LOC", "CITY")), ("a.jsonl", '{"text": "x", "label": 3}')):
        found = read(name, content, **options)
        assert (found.labelled, len(found.examples) > 0) == (False, True)
    assert not read("a.csv", "text\nx\n", CLASSIFIER, need_labels=False).labelled
    assert read("a.jsonl", '{"text": "x"}', EMBEDDER, **options).examples[0].text == "x"


def test_bad_rows_have_one_message(fail: Fail) -> None:
    """A message has the file, the line, what is wrong and the next step."""
    assert fail("a.jsonl", '{"text": "x", "label": "no"}\n{"text": "y"\n', CLASSIFIER).startswith(
        "a.jsonl, line 2 is not JSON: "
    )
    assert fail("a.csv", "text,label\nx,no\ny\n", CLASSIFIER) == (
        "a.csv, line 3 is 1 cells, the header has 2. Correct it."
    )
    assert fail("a.csv", 'text,label\n"x,no\n', CLASSIFIER).startswith("a.csv: line 2 is not CSV")
    assert fail("a.csv", b"text,label\nx,no\n\xff,no\n", CLASSIFIER).startswith("a.csv, line 3 is not UTF-8")
    assert fail("a.csv", "body,label\nx,no\n", CLASSIFIER) == (
        "a.csv, line 2 has no column 'text' or 'sentence1' or 'sentence', which text-classification needs; it has "
        "body, label. Name the column with --text."
    )
    assert "Name the column with --label" in fail("a.csv", "text\nx\n", CLASSIFIER)
    assert fail("a.jsonl", '{"text": "", "label": "no"}', CLASSIFIER) == (
        "a.jsonl, line 1: the text is '', expected a non-empty text. Correct it."
    )
    assert "label 'maybe' is not one of the model's: no, yes" in fail("a.csv", "text,label\nx,maybe\n", CLASSIFIER)
    assert "expected a number" in fail("a.csv", "text,label\nx,nan\n", REGRESSOR)
    entity = '{"text": "Wang", "entities": [{"start": 0, "end": 9, "label": "PER"}]}'
    assert "is outside of the text, which has 4 characters" in fail("a.jsonl", entity)
    assert "has not start, end (numbers)" in fail("a.jsonl", '{"text": "Wang", "entities": [[true, 4, "PER"]]}')
    moved = '{"text": "in Berlin", "entities": [{"start": 2, "end": 8, "label": "LOC", "text": "Berlin"}]}'
    assert "entity 'Berlin' is not at 2, where the text has ' Berli'" in fail("a.jsonl", moved)
    assert "2 tokens and 1 tags" in fail("a.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}')
    assert "with 1 times '[MASK]'" in fail("a.jsonl", '{"text": "[MASK]", "label": ["a", "b"]}', FILLER)
    assert "is not at 0, where the context has 'in Ber'" in fail(
        "a.json",
        json.dumps(
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": "in Berlin",
                                "qas": [{"id": 1, "question": "?", "answers": [{"text": "Berlin", "answer_start": 0}]}],
                            }
                        ]
                    }
                ]
            }
        ),
        READER,
    )
    assert fail("a.txt", "x\n", CLASSIFIER).startswith("a.txt has no labels. Pass")
    assert fail("a.txt", "x\n", READER).endswith("Pass questions with contexts.")
    assert fail("a.json", "{}", CLASSIFIER).startswith("a.json is neither SQuAD's JSON nor a list of objects")
    assert fail("a.parquet", "no parquet", CLASSIFIER).startswith("a.parquet: the file cannot be read as Parquet")


def test_missing_file_has_one_message(tmp_path: Path) -> None:
    """A file that does not exist is named."""
    with pytest.raises(InputError, match=r"missing\.csv cannot be read: No such file or directory\."):
        read_dataset(str(tmp_path / "missing.csv"), CLASSIFIER)


# ---- what would change the figures without a word


def test_tags_outside_the_scheme_are_not_outside_an_entity(read: Read, fail: Fail) -> None:
    """A tag without a role among tags with roles, or with a role of another scheme, has one message with its line."""
    assert fail("a.conll", "Wang B-PER\nBerlin LOC\n") == (
        "a.conll, line 2: tag 'LOC' is not one of scheme BIO. Correct the line, or pass --rename=LOC=O if it is "
        "outside any entity."
    )
    assert fail("a.conll", "王 B-PER\n国 M-PER\n", scheme="BIO") == (
        "a.conll, line 2: tag 'M-PER' is not one of scheme BIO; the file's tags suggest BMES. Omit --scheme, or "
        "correct it."
    )
    assert fail("a.conll", "王 B-PER\n建 M-PER\n国 E-PER\n海 B-PER\n平 I-PER\n").startswith(
        "a.conll, line 5: tag 'I-PER' does not go with those before it: no label scheme has the roles B, E, I, M."
    )
    assert golds(read("a.conll", "[CLS] X\nWang B-PER\nis -\n", rename={"-": "O"})) == [(Span("PER", 6, 10),)]


def test_whole_tags_are_left_out(read: Read) -> None:
    """A label whose tags are left out is left out of the model's results, unless a renaming brings it back."""
    content = "Wang B-PER\nBerlin B-LOC\n"
    assert "LOC" in read("a.conll", content, rename={"B-LOC": ""}).left_out
    moved = read("a.conll", "Wang B-misc\nBerlin B-LOC\n", rename={"LOC": "", "misc": "LOC"})
    assert (golds(moved), moved.left_out) == ([(Span("LOC", 0, 4),)], ())


@pytest.mark.parametrize(
    ("name", "content", "task", "options", "flag"),
    [
        ("a.csv", "text,label\nx,no\n", CLASSIFIER, {"strict": True}, "--strict"),
        ("a.csv", "text,label\nx,1\n", REGRESSOR, {"rename": {"1": "2"}}, "--rename"),
        ("a.txt", "x\n", TAGGER, {"need_labels": False, "text": "body"}, "--text"),
        ("a.conll", WORDS, TAGGER, {"pair": "3"}, "--pair"),
        ("a.jsonl", '{"text": "x", "entities": []}', TAGGER, {"units": "words"}, "--units"),
        ("a.json", '{"data": [{"paragraphs": []}]}', READER, {"text": "q"}, "--text"),
    ],
    ids=str,
)
def test_options_without_effect_are_refused(
    read: Read, name: str, content: str, task: DataTask, options: dict[str, Any], flag: str
) -> None:
    """An option that a format or a task does not have is named."""
    with pytest.raises(InputError, match=rf"{flag} ha(s|ve) no effect on .*Omit"):
        read(name, content, task, **options)


def test_tokens_without_tags_are_read_like_those_with_tags(read: Read) -> None:
    """Characters in rows are joined whether or not their tags are used: the model sees the same text."""
    row = '{"tokens": ["北", "京"], "tags": ["B-LOC", "I-LOC"]}'
    texts = [read("a.jsonl", row, need_labels=False, ignore_labels=flag).examples[0].text for flag in (False, True)]
    assert texts == ["北京", "北京"]


def test_a_few_words_among_characters_are_noted(read: Read) -> None:
    """Tokens are words if one of them has two characters, which is said if nearly all have one."""
    content = "".join(f"{token} O\n" for token in [*"北京是中国的首都", "ok"])
    (note,) = read("a.conll", content).notes
    assert note.endswith(
        "1 of 9 tokens have several characters, the first is 'ok', so tokens are read as words, with spaces between "
        "them. Pass --units characters to join them."
    )
    assert read("a.conll", content, units="characters").notes == ()


def test_line_ends_within_a_csv_text_count(read: Read) -> None:
    """CRLF in a quoted text is two characters, as the offsets of its entities count them."""
    content = 'text,entities\r\n"in\r\nBerlin","[[4, 10, ""LOC""]]"\r\n'
    (example,) = read("a.csv", content).examples
    assert example.text[slice(*example.gold[0][1:])] == "Berlin"


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("x", "question 1 ('x') is malformed: it is not an object"),
        ({"id": 1, "question": 5, "answers": []}, "question 1 (1) is malformed: its question is 5, expected a text"),
        ({"id": 1, "question": "?", "answers": {"text": ["x"]}}, "its answers are {'text': ['x']}, expected a list"),
        ({"id": 1, "question": "?", "answers": ["x"]}, "answer 'x' is not an object with a text"),
    ],
    ids=str,
)
def test_malformed_questions_have_one_message(fail: Fail, question: Any, message: str) -> None:
    """A question of SQuAD's JSON whose parts have other types is named by its number."""
    squad = {"data": [{"paragraphs": [{"context": "in Berlin", "qas": [question]}]}]}
    assert message in fail("a.json", json.dumps(squad), READER)


def test_lines_of_json(fail: Fail) -> None:
    """A message about JSON has line and column of the question or of the row, also in a file of one line."""
    answers = [{"text": "Berlin", "answer_start": start} for start in (3, 0)]
    questions = [{"id": f"q{start}", "question": "?", "answers": [answer]} for start, answer in enumerate(answers)]
    squad = {"data": [{"paragraphs": [{"context": "in Berlin", "qas": questions}]}]}
    wrong = "question 2 (q1) is malformed: answer 'Berlin' is not at 0"
    indented = json.dumps(squad, indent=1)
    line = indented.split("\n").index('       "id": "q1",')  # the brace of the question is in the line before
    assert f"a.json, line {line} column 7, {wrong}" in fail("a.json", "\ufeff" + indented.replace("\n", "\r\n"), READER)
    column = json.dumps(squad).index('{"id": "q1"') + 1
    assert f"a.json, line 1 column {column}, {wrong}" in fail("a.json", json.dumps(squad), READER)
    rows = '[{"text": "x", "label": "no"},\n\n {"text": "y", "label": "maybe"}, 5]'
    assert fail("a.json", rows, CLASSIFIER).startswith("a.json, line 3 column 2, row 2: label 'maybe' is not one of")
    assert fail("a.json", rows.replace("maybe", "yes"), CLASSIFIER).startswith(
        "a.json, line 3 column 33, row 3 is not an object but int"
    )
    tags = '[{"tokens": ["a"], "tags": ["O"]},\n{"tokens": ["b"], "tags": ["B-CITY"]}]'
    assert fail("a.json", tags).startswith("a.json, line 2 column 1, row 2: label 'CITY'")


def test_lines_of_texts_that_the_model_refuses(read: Read, tmp_path: Path) -> None:
    """A text that turns out to be invalid only later is named by its line and column, too."""
    found = read("a.json", '[{"text": "x", "label": "no"},\n {"text": "y", "label": "no"}]', CLASSIFIER)
    assert found.where(found.examples[1]) == f"{tmp_path}/a.json, line 2 column 2, row 2"
    question = {"question": "?", "answers": []}
    squad = {"data": [{"paragraphs": [{"context": "in Berlin", "qas": [question, question]}]}]}
    found = read("b.json", json.dumps(squad), READER)
    column = json.dumps(squad).rindex('{"question"') + 1
    assert found.where(found.examples[1]) == f"{tmp_path}/b.json, line 1 column {column}, question 2"


@pytest.mark.parametrize(
    ("paragraph", "problem"),
    [('{"qas": [{}]}', "KeyError('context')"), ('{"context": "x"}', "KeyError('qas')"), ('"x"', "TypeError(")],
)
def test_lines_of_malformed_squad(fail: Fail, paragraph: str, problem: str) -> None:
    """A paragraph without a context or questions is named by its line."""
    message = fail("a.json", f'{{"data": [{{"paragraphs": [\n{paragraph}]}}]}}', READER)
    assert message.startswith(f"a.json, line 2 column 1 is not SQuAD's JSON: {problem}")
    in_object = fail("a.json", f'{{"data": [\n{{"paragraphs": {{"a": {paragraph}}}}}]}}', READER)
    assert in_object.startswith("a.json, line 2 column 16 is not SQuAD's JSON: TypeError(")


def test_rows_of_several_lines(fail: Fail) -> None:
    """A row of CSV is named by its first line, also one whose quotes do not match; a row of JSON lines by its line."""
    quoted = 'text,label\n"a\nb",yes\n"c\nd",maybe\n'
    assert fail("a.csv", quoted, CLASSIFIER).startswith("a.csv, line 4: label 'maybe' is not one of the model's")
    assert fail("a.csv", 'text,label\nx,yes\n"c\nd" e,no\n', CLASSIFIER) == (
        "a.csv: line 4 is not CSV: ',' expected after '\"' in the row that begins in line 3. Correct it; the lines "
        "after it cannot be read."
    )
    assert fail("a.jsonl", '{"text": "x", "label": "no"}\n\n{"text" 1}\n', CLASSIFIER) == (
        "a.jsonl, line 3 is not JSON: Expecting ':' delimiter at column 9. Correct it."
    )


def test_columns_that_are_not_what_they_seem(fail: Fail) -> None:
    """A column that occurs twice, and columns that commas do not separate, are named."""
    assert fail("a.csv", "text,label,text\nx,no,y\n", CLASSIFIER) == (
        "a.csv: line 1 has the column 'text' twice. Rename or remove one of them."
    )
    assert fail("a.csv", "text;label\nx;no\n", CLASSIFIER).endswith(
        "it has text;label. Name the column with --text, and separate columns by commas, not by ';'."
    )


def test_answers_that_contradict_themselves(fail: Fail) -> None:
    """An answer is where it says, in rows as in SQuAD's JSON; answers without texts are not "no answer"."""
    for answers, message in (
        ({"text": ["Berlin"], "answer_start": [0]}, "answer 'Berlin' is not at 0, where the context has 'in Ber'"),
        ([{"text": "Berlin", "answer_start": -6}], "answer 'Berlin' is not at -6"),
        ({"answer_start": [3]}, "expected a text or a list of texts"),
        ({"text": ["Berlin"], "answer_start": [3, 5]}, "expected a text or a list of texts"),
        (5, "the answers are 5, expected a text or a list of texts"),
    ):
        row = {"question": "Where?", "context": "in Berlin", "answers": answers}
        assert fail("a.jsonl", json.dumps(row), READER).startswith("a.jsonl, line 1: ")
        assert message in fail("a.jsonl", json.dumps(row), READER)
    answer = {"text": "Berlin", "answer_start": 3}
    question = {"id": "1", "question": "?", "is_impossible": True, "answers": [answer]}
    squad = {"data": [{"paragraphs": [{"context": "in Berlin", "qas": [question]}]}]}
    assert "it is_impossible, but has answers" in fail("a.json", json.dumps(squad), READER)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_deep_json(fail: Fail, name: str) -> None:
    """JSON that is nested too deeply for the parser has one message, too."""
    assert " is not JSON: " in fail(name, "[" * 100_000, CLASSIFIER)


def test_rows_of_parquet(tmp_path: Path) -> None:
    """A row of Parquet is named by its number, from 1."""
    arrow = require_package("pyarrow")
    table = arrow.Table.from_pylist([{"text": "x", "label": "no"}, {"text": "y", "label": "maybe"}])
    require_package("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet, row 2: label 'maybe' is not one of the model's"):
        read_dataset(str(tmp_path / "a.parquet"), CLASSIFIER)


def test_version_of_squad(read: Read) -> None:
    """A file that says that it is of version 2.0 is, even if all of its questions have answers."""
    question = {"id": "1", "question": "?", "answers": [{"text": "Berlin", "answer_start": 3}]}
    data = [{"paragraphs": [{"context": "in Berlin", "qas": [question]}]}]
    found = [read("a.json", json.dumps({"version": version, "data": data}), READER) for version in ("1.1", "v2.0")]
    assert [each.version_2 for each in found] == [False, True]
