"""The settings of Hugging Face and sentence-transformers directories: followed, refused by name, or without effect.

docs/checkpoints.md shows these tables; a test compares it with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.setting import (
    FOLLOWED,
    Setting,
    choice,
    flag,
    followed,
    is_length,
    is_list_of_text,
    is_number,
    no_value,
    only_true,
    refused,
    without_effect,
)

__all__ = ["SETTINGS", "check_settings"]

_LENGTH = "a number of tokens, at least 3"

_TOKENIZER_CONFIG = (
    flag("do_lower_case", "`--lowercase` and `--no-lowercase` override it"),
    flag("strip_accents", "null means: as `do_lower_case`; BertJapaneseTokenizer ignores it"),
    flag("tokenize_chinese_chars", "false leaves Chinese characters together; BertJapaneseTokenizer ignores it"),
    flag(
        "do_basic_tokenize",
        "false splits at white space only and never lower-cases; refused beside a tokenizer.json, which cannot say so; "
        "BertJapaneseTokenizer ignores it",
    ),
    followed(
        "never_split",
        "as transformers' slow tokenizer does; refused beside a tokenizer.json, for a word with accents that are "
        "stripped, and with `--characters`",
        "a list of words",
        is_list_of_text,
    ),
    followed("unk_token sep_token pad_token cls_token mask_token bos_token eos_token", "the names of the model's own"),
    followed(
        "additional_special_tokens extra_special_tokens added_tokens_decoder",
        "see [Added tokens](#added-tokens), also for `lstrip`, `rstrip`, `normalized` and `single_word`",
    ),
    followed("model_max_length max_len", "upper limit of the default of `--max-length`", _LENGTH, is_length),
    followed(
        "model_input_names",
        "without `token_type_ids` the bundle has no such input; must contain `attention_mask`",
        "a list of input names",
        is_list_of_text,
    ),
    followed(
        "tokenizer_class",
        "BERT's, DistilBERT's, ELECTRA's, RoBERTa's, ALBERT's, and BertJapaneseTokenizer, see "
        "[Japanese](#japanese); another one is refused if there is no tokenizer.json",
        "the name of a class",
        lambda value: value is None or isinstance(value, str),
    ),
    flag("add_prefix_space keep_accents remove_space", "RoBERTa's and ALBERT's"),
    refused("auto_map", "code of its own is not run (`AutoTokenizer`)"),
    refused("padding_side", "`right` only: padding on the left would shift the positions", "right"),
    refused("truncation_side", "`right` only: the client truncates the end of a text", "right"),
    refused("split_special_tokens", "`false` only; `--added-tokens text` splits them"),
    refused("wordpieces_prefix", "`##` only", "##"),
    only_true("clean_text do_split_on_punc do_word_tokenize do_subword_tokenize"),
    refused("sp_model_kwargs", "sampling would make answers random"),
    choice(
        "word_tokenizer_type",
        "BertJapaneseTokenizer's: `basic`, `mecab` or `sudachi`; `jumanpp` is refused, it needs a program",
        "basic",
        "mecab",
        "sudachi",
    ),
    choice(
        "subword_tokenizer_type",
        "BertJapaneseTokenizer's: `wordpiece` or `character`; `sentencepiece` is refused",
        "wordpiece",
        "character",
    ),
    followed("mecab_kwargs sudachi_kwargs", "BertJapaneseTokenizer's, see the tables below"),
    without_effect("jumanpp_kwargs spm_file", "they belong to what is refused above"),
    without_effect(
        "clean_up_tokenization_spaces spaces_between_special_tokens errors chat_template trim_offsets",
        "they concern decoding, and offsets, which never include white space",
    ),
    without_effect(
        "max_length truncation truncation_strategy stride padding pad_to_multiple_of pad_token_type_id "
        "return_token_type_ids return_attention_mask return_tensors",
        "a request decides about truncation, the bundle about padding",
    ),
    without_effect(
        "name_or_path tokenizer_file vocab_file full_tokenizer_file special_tokens_map_file init_inputs "
        "processor_class use_fast trust_remote_code local_files_only from_slow legacy verbose transformers_version "
        "revision device device_map torch_dtype cache_dir backend is_local config _from_auto _commit_hash "
        "use_auth_token vocab_size "
        "unk_token_id sep_token_id pad_token_id cls_token_id mask_token_id bos_token_id eos_token_id",
        "they concern loading",
    ),
)
_MECAB = (
    choice(
        "mecab_dic",
        "`ipadic`, `unidic_lite` or `unidic`; refused if it is not stated, because transformers' default has changed",
        "ipadic",
        "unidic_lite",
        "unidic",
    ),
    flag("normalize_text", "NFKC; `true` if it is not stated"),
    refused("mecab_option", "none only: it may name files of one machine"),
)
_SUDACHI = (
    choice("sudachi_split_mode", "`A` if it is not stated", "A", "B", "C"),
    choice("sudachi_dict_type", "`core` if it is not stated", "small", "core", "full"),
    choice(
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
    flag("normalize_text", "NFKC; `true` if it is not stated"),
    flag("trim_whitespace", "white space is removed from words"),
    refused("sudachi_config_path sudachi_resource_dir", "none only: files of one machine"),
)
_MODULES = (
    followed(
        "Transformer BERT DistilBERT RoBERTa ALBERT", "the encoder, in the folder that `path` names, first of all"
    ),
    followed("Pooling", "in the folder that `path` names, after the encoder"),
    followed("Dense", "in the folder that `path` names, after the pooling"),
    followed("Normalize", "last of all; `--normalize` and `--no-normalize` override it"),
    without_effect("Dropout", "it does nothing in inference"),
    refused(
        "LayerNorm WeightedLayerPooling CNN LSTM BoW WordEmbeddings WordWeights CLIPModel",
        "`--pooling` replaces all modules",
    ),
)
_POOLING = (
    followed("pooling_mode", "`mean`, `cls` or `max`; another one, or several, are refused"),
    flag("pooling_mode_mean_tokens pooling_mode_cls_token pooling_mode_max_tokens", "one of them"),
    refused(
        "pooling_mode_mean_sqrt_len_tokens pooling_mode_weightedmean_tokens pooling_mode_lasttoken", "`false` only"
    ),
    flag("include_prompt", "false is refused if there is a default prompt"),
    without_effect("word_embedding_dimension embedding_dimension", "the size of the encoder's vectors"),
)
_DENSE = (
    followed("in_features out_features", "the sizes of the embeddings", "a number", is_number),
    flag("bias", "its weights are in `model.safetensors`, or in `pytorch_model.bin` with `--allow-pickle`"),
    followed(
        "activation_function",
        "`torch.nn.modules.activation.Tanh` or `torch.nn.modules.linear.Identity`; another one is refused",
    ),
    refused("module_input_name module_output_name", "`sentence_embedding` only", "sentence_embedding"),
)
_SENTENCE_BERT = (
    followed("max_seq_length", "upper limit of the default of `--max-length`", _LENGTH, is_length),
    flag("do_lower_case", "texts are lower-cased in front of the tokenizer, accents stay"),
    refused("transformer_task", "`feature-extraction` only", "feature-extraction"),
    refused("module_output_name", "`token_embeddings` only", "token_embeddings"),
    refused(
        "model_args config_args tokenizer_args model_kwargs config_kwargs processor_kwargs tokenizer_name_or_path",
        "empty only",
    ),
    without_effect("modality_config method_output_name unpad_inputs cache_dir backend", "texts take one way"),
)
_SENTENCE_TRANSFORMERS = (
    followed(
        "prompts default_prompt_name",
        "the default prompt is in front of every text, once; it must end with white space or punctuation. Other "
        "prompts are for the caller to put there",
    ),
    refused("truncate_dim", "null only"),
    refused("model_type", "`SentenceTransformer` only", "SentenceTransformer"),
    without_effect("__version__ similarity_fn_name", "they do not change a vector"),
)
_CONFIG = (
    followed(
        "model_type architectures problem_type id2label label2id vocab_size hidden_size dim embedding_size "
        "num_hidden_layers n_layers num_attention_heads n_heads intermediate_size hidden_dim max_position_embeddings "
        "type_vocab_size hidden_act activation layer_norm_eps pad_token_id num_hidden_groups",
        "checked, then the model is built of them",
    ),
    followed("tokenizer_class", "if tokenizer_config.json names none: as there"),
    refused("auto_map", "code of its own is not run (`AutoModel...`), unless `--model-class` replaces it"),
    refused("position_embedding_type", "`absolute` only", "absolute"),
    refused("is_decoder add_cross_attention", "`false` only"),
    without_effect("pruned_heads", "the weights decide: without all heads, their shapes are refused"),
    refused("inner_group_num", "`1` only", 1),
    refused("quantization_config", "none only: quantized weights are not read"),
    followed("tie_word_embeddings", "a fill-mask decoder with weights of its own is refused"),
    without_effect("return_dict torchscript output_hidden_states output_attentions", "the outputs are the task's"),
    without_effect("initializer_range hidden_dropout_prob attention_probs_dropout_prob", "they concern training"),
    without_effect("sentence_transformers sbert_ce_default_activation_function", "a note names the activation"),
)
SETTINGS: Mapping[str, tuple[Setting, ...]] = {
    "tokenizer_config.json": _TOKENIZER_CONFIG,
    "mecab_kwargs": _MECAB,
    "sudachi_kwargs": _SUDACHI,
    "modules.json": _MODULES,
    "1_Pooling/config.json": _POOLING,
    "2_Dense/config.json": _DENSE,
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
