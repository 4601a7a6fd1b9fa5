"""The settings of Hugging Face and sentence-transformers directories: followed, refused by name, or without effect.

docs/checkpoints.md shows these tables; a test compares it with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertbundle_export.errors import CheckpointError

__all__ = ["SETTINGS", "Setting", "check_settings", "no_value"]

FOLLOWED, REFUSED, NO_EFFECT = "followed", "refused", "no effect"


def no_value(value: Any) -> bool:
    """Return whether a value states nothing: null, false, or empty."""
    return value is None or value is False or value in ("", [], {})


@dataclass(frozen=True, slots=True)
class Setting:
    """What happens to some settings of a file.

    Attributes:
        names: their keys.
        outcome: "followed", "refused" or "no effect".
        details: what is done, or which values are supported.
        expected: description of the valid values of a followed setting; "" if they are not checked here.
        is_valid: whether a value is one of them; for a refused setting, whether it changes nothing.
    """

    names: tuple[str, ...]
    outcome: str
    details: str
    expected: str = ""
    is_valid: Callable[[Any], bool] = no_value


def _any_value(value: Any) -> bool:
    del value
    return True


def _followed(names: str, details: str, expected: str = "", is_valid: Callable[[Any], bool] | None = None) -> Setting:
    return Setting(tuple(names.split()), FOLLOWED, details, expected, is_valid or _any_value)


def _refused(names: str, details: str, *supported: Any) -> Setting:
    return Setting(tuple(names.split()), REFUSED, details, is_valid=lambda value: no_value(value) or value in supported)


def _without_effect(names: str, details: str) -> Setting:
    return Setting(tuple(names.split()), NO_EFFECT, details, is_valid=_any_value)


def _only_true(names: str) -> Setting:
    return Setting(tuple(names.split()), REFUSED, "`true` only", is_valid=lambda value: value is None or value is True)


def _choice(names: str, details: str, *values: str) -> Setting:
    expected = f"{', '.join(values[:-1])} or {values[-1]}"
    return _followed(names, details, expected, lambda value: value is None or value in values)


def _flag(names: str, details: str) -> Setting:
    return _followed(names, details, "true or false", lambda value: value is None or isinstance(value, bool))


def _is_list_of_text(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _is_length(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and value >= 3)


_LENGTH = "a number of tokens, at least 3"

_TOKENIZER_CONFIG = (
    _flag("do_lower_case", "`--lowercase` and `--no-lowercase` override it"),
    _flag("strip_accents", "null means: as `do_lower_case`; BertJapaneseTokenizer ignores it"),
    _flag("tokenize_chinese_chars", "false leaves Chinese characters together; BertJapaneseTokenizer ignores it"),
    _flag(
        "do_basic_tokenize",
        "false splits at white space only and never lower-cases; refused beside a tokenizer.json, which cannot say so; "
        "BertJapaneseTokenizer ignores it",
    ),
    _followed(
        "never_split",
        "as transformers' slow tokenizer does; refused beside a tokenizer.json, for a word with accents that are "
        "stripped, and with `--characters`",
        "a list of words",
        _is_list_of_text,
    ),
    _followed("unk_token sep_token pad_token cls_token mask_token bos_token eos_token", "the names of the model's own"),
    _followed(
        "additional_special_tokens extra_special_tokens added_tokens_decoder",
        "see [Added tokens](#added-tokens), also for `lstrip`, `rstrip`, `normalized` and `single_word`",
    ),
    _followed("model_max_length max_len", "upper limit of the default of `--max-length`", _LENGTH, _is_length),
    _followed(
        "model_input_names",
        "without `token_type_ids` the bundle has no such input; must contain `attention_mask`",
        "a list of input names",
        _is_list_of_text,
    ),
    _followed(
        "tokenizer_class",
        "BERT's, DistilBERT's, ELECTRA's, RoBERTa's, ALBERT's, and BertJapaneseTokenizer, see "
        "[Japanese](#japanese); another one is refused if there is no tokenizer.json",
        "the name of a class",
        lambda value: value is None or isinstance(value, str),
    ),
    _flag("add_prefix_space keep_accents remove_space", "RoBERTa's and ALBERT's"),
    _refused("auto_map", "code of its own is not run (`AutoTokenizer`)"),
    _refused("padding_side", "`right` only: padding on the left would shift the positions", "right"),
    _refused("truncation_side", "`right` only: the client truncates the end of a text", "right"),
    _refused("split_special_tokens", "`false` only; `--added-tokens text` splits them"),
    _refused("wordpieces_prefix", "`##` only", "##"),
    _only_true("clean_text do_split_on_punc do_word_tokenize do_subword_tokenize"),
    _refused("sp_model_kwargs", "sampling would make answers random"),
    _choice(
        "word_tokenizer_type",
        "BertJapaneseTokenizer's: `basic`, `mecab` or `sudachi`; `jumanpp` is refused, it needs a program",
        "basic",
        "mecab",
        "sudachi",
    ),
    _choice(
        "subword_tokenizer_type",
        "BertJapaneseTokenizer's: `wordpiece` or `character`; `sentencepiece` is refused",
        "wordpiece",
        "character",
    ),
    _followed("mecab_kwargs sudachi_kwargs", "BertJapaneseTokenizer's, see the tables below"),
    _without_effect("jumanpp_kwargs spm_file", "they belong to what is refused above"),
    _without_effect(
        "clean_up_tokenization_spaces spaces_between_special_tokens errors chat_template trim_offsets",
        "they concern decoding, and offsets, which never include white space",
    ),
    _without_effect(
        "max_length truncation truncation_strategy stride padding pad_to_multiple_of pad_token_type_id "
        "return_token_type_ids return_attention_mask return_tensors",
        "a request decides about truncation, the bundle about padding",
    ),
    _without_effect(
        "name_or_path tokenizer_file vocab_file full_tokenizer_file special_tokens_map_file init_inputs "
        "processor_class use_fast trust_remote_code local_files_only from_slow legacy verbose transformers_version "
        "revision device device_map torch_dtype cache_dir backend is_local config _from_auto _commit_hash "
        "use_auth_token vocab_size "
        "unk_token_id sep_token_id pad_token_id cls_token_id mask_token_id bos_token_id eos_token_id",
        "they concern loading",
    ),
)
_MECAB = (
    _choice(
        "mecab_dic",
        "`ipadic`, `unidic_lite` or `unidic`; refused if it is not stated, because transformers' default has changed",
        "ipadic",
        "unidic_lite",
        "unidic",
    ),
    _flag("normalize_text", "NFKC; `true` if it is not stated"),
    _refused("mecab_option", "none only: it may name files of one machine"),
)
_SUDACHI = (
    _choice("sudachi_split_mode", "`A` if it is not stated", "A", "B", "C"),
    _choice("sudachi_dict_type", "`core` if it is not stated", "small", "core", "full"),
    _choice(
        "sudachi_projection",
        "tokens are those of the projected word; their offsets are those of the whole word in the text",
        "surface",
        "normalized",
        "reading",
        "dictionary",
        "dictionary_and_surface",
        "normalized_and_surface",
        "normalized_nouns",
    ),
    _flag("normalize_text", "NFKC; `true` if it is not stated"),
    _flag("trim_whitespace", "white space is removed from words"),
    _refused("sudachi_config_path sudachi_resource_dir", "none only: files of one machine"),
)
_MODULES = (
    _followed(
        "Transformer BERT DistilBERT RoBERTa ALBERT", "the encoder, in the folder that `path` names, first of all"
    ),
    _followed("Pooling", "in the folder that `path` names, after the encoder"),
    _followed("Normalize", "after the pooling; `--normalize` and `--no-normalize` override it"),
    _without_effect("Dropout", "it does nothing in inference"),
    _refused(
        "Dense LayerNorm WeightedLayerPooling CNN LSTM BoW WordEmbeddings WordWeights CLIPModel",
        "`--pooling` replaces all modules",
    ),
)
_POOLING = (
    _followed("pooling_mode", "`mean`, `cls` or `max`; another one, or several, are refused"),
    _flag("pooling_mode_mean_tokens pooling_mode_cls_token pooling_mode_max_tokens", "one of them"),
    _refused(
        "pooling_mode_mean_sqrt_len_tokens pooling_mode_weightedmean_tokens pooling_mode_lasttoken", "`false` only"
    ),
    _flag("include_prompt", "false is refused if there is a default prompt"),
    _without_effect("word_embedding_dimension embedding_dimension", "the size of the encoder's vectors"),
)
_SENTENCE_BERT = (
    _followed("max_seq_length", "upper limit of the default of `--max-length`", _LENGTH, _is_length),
    _flag("do_lower_case", "texts are lower-cased in front of the tokenizer, accents stay"),
    _refused("transformer_task", "`feature-extraction` only", "feature-extraction"),
    _refused("module_output_name", "`token_embeddings` only", "token_embeddings"),
    _refused(
        "model_args config_args tokenizer_args model_kwargs config_kwargs processor_kwargs tokenizer_name_or_path",
        "empty only",
    ),
    _without_effect("modality_config method_output_name unpad_inputs cache_dir backend", "texts take one way"),
)
_SENTENCE_TRANSFORMERS = (
    _followed(
        "prompts default_prompt_name",
        "the default prompt is in front of every text, once; it must end with white space or punctuation. Other "
        "prompts are for the caller to put there",
    ),
    _refused("truncate_dim", "null only"),
    _refused("model_type", "`SentenceTransformer` only", "SentenceTransformer"),
    _without_effect("__version__ similarity_fn_name", "they do not change a vector"),
)
_CONFIG = (
    _followed(
        "model_type architectures problem_type id2label label2id vocab_size hidden_size dim embedding_size "
        "num_hidden_layers n_layers num_attention_heads n_heads intermediate_size hidden_dim max_position_embeddings "
        "type_vocab_size hidden_act activation layer_norm_eps pad_token_id num_hidden_groups",
        "checked, then the model is built of them",
    ),
    _followed("tokenizer_class", "if tokenizer_config.json names none: as there"),
    _refused("auto_map", "code of its own is not run (`AutoModel...`), unless `--model-class` replaces it"),
    _refused("position_embedding_type", "`absolute` only", "absolute"),
    _refused("is_decoder add_cross_attention", "`false` only"),
    _without_effect("pruned_heads", "the weights decide: without all heads, their shapes are refused"),
    _refused("inner_group_num", "`1` only", 1),
    _refused("quantization_config", "none only: quantized weights are not read"),
    _followed("tie_word_embeddings", "a fill-mask decoder with weights of its own is refused"),
    _without_effect("return_dict torchscript output_hidden_states output_attentions", "the outputs are the task's"),
    _without_effect("initializer_range hidden_dropout_prob attention_probs_dropout_prob", "they concern training"),
    _without_effect("sentence_transformers sbert_ce_default_activation_function", "a note names the activation"),
)
SETTINGS: Mapping[str, tuple[Setting, ...]] = {
    "tokenizer_config.json": _TOKENIZER_CONFIG,
    "mecab_kwargs": _MECAB,
    "sudachi_kwargs": _SUDACHI,
    "modules.json": _MODULES,
    "1_Pooling/config.json": _POOLING,
    "sentence_bert_config.json": _SENTENCE_BERT,
    "config_sentence_transformers.json": _SENTENCE_TRANSFORMERS,
    "config.json": _CONFIG,
}
"""The settings by file, and by name for objects in tokenizer_config.json. The names of modules.json are the classes of
its modules."""


def check_settings(
    file: Path,
    table: str,
    data: Mapping[str, Any],
    *,
    names: Iterable[str] | None = None,
    allow_unknown: bool = False,
    next_step: str = "",
) -> None:
    """Check the settings of a file against a table.

    Args:
        file: the file, for messages.
        table: a key of `SETTINGS`.
        data: its content.
        names: the settings to check; None for all.
        allow_unknown: whether settings that the table does not have are ignored.
        next_step: what the user can do about a refused one; "" for removing it.

    Raises:
        CheckpointError: a setting is refused or unknown, or its value is invalid.
    """
    rows = {name: row for row in SETTINGS[table] for name in row.names}
    for name in data if names is None else names:
        row = rows.get(name)
        if name in data and not (row.is_valid(data[name]) if row else allow_unknown or no_value(data[name])):
            raise CheckpointError(f"{file} has {name} {data[name]!r:.80}, {_reason(row, next_step)}")


def _reason(row: Setting | None, next_step: str) -> str:
    if row is not None and row.outcome == FOLLOWED:
        return f"expected {row.expected}."
    next_step = next_step or "Remove it if the model was trained without it."
    if row is None:
        return f"a setting that bertbundle does not know and that may change the answers. {next_step}"
    return f"which is not supported: {row.details.replace('`', '')}. {next_step}"
