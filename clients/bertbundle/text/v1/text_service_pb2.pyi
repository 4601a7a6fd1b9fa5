from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Truncation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRUNCATION_UNSPECIFIED: _ClassVar[Truncation]
    TRUNCATION_WINDOW: _ClassVar[Truncation]
    TRUNCATION_TRUNCATE: _ClassVar[Truncation]
    TRUNCATION_ERROR: _ClassVar[Truncation]

class VersionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_STATE_UNSPECIFIED: _ClassVar[VersionState]
    VERSION_STATE_START: _ClassVar[VersionState]
    VERSION_STATE_LOADING: _ClassVar[VersionState]
    VERSION_STATE_AVAILABLE: _ClassVar[VersionState]
    VERSION_STATE_UNLOADING: _ClassVar[VersionState]
    VERSION_STATE_END: _ClassVar[VersionState]
TRUNCATION_UNSPECIFIED: Truncation
TRUNCATION_WINDOW: Truncation
TRUNCATION_TRUNCATE: Truncation
TRUNCATION_ERROR: Truncation
VERSION_STATE_UNSPECIFIED: VersionState
VERSION_STATE_START: VersionState
VERSION_STATE_LOADING: VersionState
VERSION_STATE_AVAILABLE: VersionState
VERSION_STATE_UNLOADING: VersionState
VERSION_STATE_END: VersionState

class ModelSelector(_message.Message):
    __slots__ = ("name", "version", "label")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    label: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., label: _Optional[str] = ...) -> None: ...

class LongTextOptions(_message.Message):
    __slots__ = ("truncation", "stride")
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    truncation: Truncation
    stride: int
    def __init__(self, truncation: _Optional[_Union[Truncation, str]] = ..., stride: _Optional[int] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("start", "end", "utf16_start", "utf16_end", "utf8_start", "utf8_end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    UTF16_START_FIELD_NUMBER: _ClassVar[int]
    UTF16_END_FIELD_NUMBER: _ClassVar[int]
    UTF8_START_FIELD_NUMBER: _ClassVar[int]
    UTF8_END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    utf16_start: int
    utf16_end: int
    utf8_start: int
    utf8_end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ..., utf16_start: _Optional[int] = ..., utf16_end: _Optional[int] = ..., utf8_start: _Optional[int] = ..., utf8_end: _Optional[int] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("code", "reason", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class FindEntitiesRequest(_message.Message):
    __slots__ = ("model", "texts", "word_lists", "long_texts", "head")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    WORD_LISTS_FIELD_NUMBER: _ClassVar[int]
    LONG_TEXTS_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    model: ModelSelector
    texts: _containers.RepeatedScalarFieldContainer[str]
    word_lists: _containers.RepeatedCompositeFieldContainer[WordList]
    long_texts: LongTextOptions
    head: str
    def __init__(self, model: _Optional[_Union[ModelSelector, _Mapping]] = ..., texts: _Optional[_Iterable[str]] = ..., word_lists: _Optional[_Iterable[_Union[WordList, _Mapping]]] = ..., long_texts: _Optional[_Union[LongTextOptions, _Mapping]] = ..., head: _Optional[str] = ...) -> None: ...

class WordList(_message.Message):
    __slots__ = ("words",)
    WORDS_FIELD_NUMBER: _ClassVar[int]
    words: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, words: _Optional[_Iterable[str]] = ...) -> None: ...

class FindEntitiesResponse(_message.Message):
    __slots__ = ("results", "model_version")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EntitiesResult]
    model_version: int
    def __init__(self, results: _Optional[_Iterable[_Union[EntitiesResult, _Mapping]]] = ..., model_version: _Optional[int] = ...) -> None: ...

class EntitiesResult(_message.Message):
    __slots__ = ("entities", "error")
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    entities: EntityList
    error: ItemError
    def __init__(self, entities: _Optional[_Union[EntityList, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class EntityList(_message.Message):
    __slots__ = ("entities",)
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    entities: _containers.RepeatedCompositeFieldContainer[Entity]
    def __init__(self, entities: _Optional[_Iterable[_Union[Entity, _Mapping]]] = ...) -> None: ...

class Entity(_message.Message):
    __slots__ = ("label", "text", "span", "score")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    label: str
    text: str
    span: Span
    score: float
    def __init__(self, label: _Optional[str] = ..., text: _Optional[str] = ..., span: _Optional[_Union[Span, _Mapping]] = ..., score: _Optional[float] = ...) -> None: ...

class ClassifyRequest(_message.Message):
    __slots__ = ("model", "texts", "second_texts", "long_texts", "head", "top_k", "threshold")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    SECOND_TEXTS_FIELD_NUMBER: _ClassVar[int]
    LONG_TEXTS_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    model: ModelSelector
    texts: _containers.RepeatedScalarFieldContainer[str]
    second_texts: _containers.RepeatedScalarFieldContainer[str]
    long_texts: LongTextOptions
    head: str
    top_k: int
    threshold: float
    def __init__(self, model: _Optional[_Union[ModelSelector, _Mapping]] = ..., texts: _Optional[_Iterable[str]] = ..., second_texts: _Optional[_Iterable[str]] = ..., long_texts: _Optional[_Union[LongTextOptions, _Mapping]] = ..., head: _Optional[str] = ..., top_k: _Optional[int] = ..., threshold: _Optional[float] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("results", "model_version")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ClassificationResult]
    model_version: int
    def __init__(self, results: _Optional[_Iterable[_Union[ClassificationResult, _Mapping]]] = ..., model_version: _Optional[int] = ...) -> None: ...

class ClassificationResult(_message.Message):
    __slots__ = ("classification", "error")
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    classification: Classification
    error: ItemError
    def __init__(self, classification: _Optional[_Union[Classification, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("label", "score", "labels", "scores")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    label: str
    score: float
    labels: _containers.RepeatedScalarFieldContainer[str]
    scores: _containers.RepeatedCompositeFieldContainer[LabelScore]
    def __init__(self, label: _Optional[str] = ..., score: _Optional[float] = ..., labels: _Optional[_Iterable[str]] = ..., scores: _Optional[_Iterable[_Union[LabelScore, _Mapping]]] = ...) -> None: ...

class LabelScore(_message.Message):
    __slots__ = ("label", "score")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    label: str
    score: float
    def __init__(self, label: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class RegressRequest(_message.Message):
    __slots__ = ("model", "texts", "second_texts", "long_texts", "head")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    SECOND_TEXTS_FIELD_NUMBER: _ClassVar[int]
    LONG_TEXTS_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    model: ModelSelector
    texts: _containers.RepeatedScalarFieldContainer[str]
    second_texts: _containers.RepeatedScalarFieldContainer[str]
    long_texts: LongTextOptions
    head: str
    def __init__(self, model: _Optional[_Union[ModelSelector, _Mapping]] = ..., texts: _Optional[_Iterable[str]] = ..., second_texts: _Optional[_Iterable[str]] = ..., long_texts: _Optional[_Union[LongTextOptions, _Mapping]] = ..., head: _Optional[str] = ...) -> None: ...

class RegressResponse(_message.Message):
    __slots__ = ("results", "model_version")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RegressionResult]
    model_version: int
    def __init__(self, results: _Optional[_Iterable[_Union[RegressionResult, _Mapping]]] = ..., model_version: _Optional[int] = ...) -> None: ...

class RegressionResult(_message.Message):
    __slots__ = ("value", "error")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    value: float
    error: ItemError
    def __init__(self, value: _Optional[float] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("model", "texts", "long_texts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    LONG_TEXTS_FIELD_NUMBER: _ClassVar[int]
    model: ModelSelector
    texts: _containers.RepeatedScalarFieldContainer[str]
    long_texts: LongTextOptions
    def __init__(self, model: _Optional[_Union[ModelSelector, _Mapping]] = ..., texts: _Optional[_Iterable[str]] = ..., long_texts: _Optional[_Union[LongTextOptions, _Mapping]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("results", "model_version")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EmbeddingResult]
    model_version: int
    def __init__(self, results: _Optional[_Iterable[_Union[EmbeddingResult, _Mapping]]] = ..., model_version: _Optional[int] = ...) -> None: ...

class EmbeddingResult(_message.Message):
    __slots__ = ("embedding", "error")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    embedding: Embedding
    error: ItemError
    def __init__(self, embedding: _Optional[_Union[Embedding, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class AnswerQuestionsRequest(_message.Message):
    __slots__ = ("model", "questions", "long_texts", "max_answer_len", "handle_impossible_answer")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    LONG_TEXTS_FIELD_NUMBER: _ClassVar[int]
    MAX_ANSWER_LEN_FIELD_NUMBER: _ClassVar[int]
    HANDLE_IMPOSSIBLE_ANSWER_FIELD_NUMBER: _ClassVar[int]
    model: ModelSelector
    questions: _containers.RepeatedCompositeFieldContainer[Question]
    long_texts: LongTextOptions
    max_answer_len: int
    handle_impossible_answer: bool
    def __init__(self, model: _Optional[_Union[ModelSelector, _Mapping]] = ..., questions: _Optional[_Iterable[_Union[Question, _Mapping]]] = ..., long_texts: _Optional[_Union[LongTextOptions, _Mapping]] = ..., max_answer_len: _Optional[int] = ..., handle_impossible_answer: bool = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("question", "context")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    question: str
    context: str
    def __init__(self, question: _Optional[str] = ..., context: _Optional[str] = ...) -> None: ...

class AnswerQuestionsResponse(_message.Message):
    __slots__ = ("results", "model_version")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[AnswerResult]
    model_version: int
    def __init__(self, results: _Optional[_Iterable[_Union[AnswerResult, _Mapping]]] = ..., model_version: _Optional[int] = ...) -> None: ...

class AnswerResult(_message.Message):
    __slots__ = ("answer", "error")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    error: ItemError
    def __init__(self, answer: _Optional[_Union[Answer, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("text", "span", "score", "null_score")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    NULL_SCORE_FIELD_NUMBER: _ClassVar[int]
    text: str
    span: Span
    score: float
    null_score: float
    def __init__(self, text: _Optional[str] = ..., span: _Optional[_Union[Span, _Mapping]] = ..., score: _Optional[float] = ..., null_score: _Optional[float] = ...) -> None: ...

class FillMaskRequest(_message.Message):
    __slots__ = ("model", "texts", "long_texts", "top_k")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    LONG_TEXTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    model: ModelSelector
    texts: _containers.RepeatedScalarFieldContainer[str]
    long_texts: LongTextOptions
    top_k: int
    def __init__(self, model: _Optional[_Union[ModelSelector, _Mapping]] = ..., texts: _Optional[_Iterable[str]] = ..., long_texts: _Optional[_Union[LongTextOptions, _Mapping]] = ..., top_k: _Optional[int] = ...) -> None: ...

class FillMaskResponse(_message.Message):
    __slots__ = ("results", "model_version")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[MasksResult]
    model_version: int
    def __init__(self, results: _Optional[_Iterable[_Union[MasksResult, _Mapping]]] = ..., model_version: _Optional[int] = ...) -> None: ...

class MasksResult(_message.Message):
    __slots__ = ("masks", "error")
    MASKS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    masks: MaskList
    error: ItemError
    def __init__(self, masks: _Optional[_Union[MaskList, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class MaskList(_message.Message):
    __slots__ = ("masks",)
    MASKS_FIELD_NUMBER: _ClassVar[int]
    masks: _containers.RepeatedCompositeFieldContainer[Mask]
    def __init__(self, masks: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ...) -> None: ...

class Mask(_message.Message):
    __slots__ = ("span", "fills")
    SPAN_FIELD_NUMBER: _ClassVar[int]
    FILLS_FIELD_NUMBER: _ClassVar[int]
    span: Span
    fills: _containers.RepeatedCompositeFieldContainer[Fill]
    def __init__(self, span: _Optional[_Union[Span, _Mapping]] = ..., fills: _Optional[_Iterable[_Union[Fill, _Mapping]]] = ...) -> None: ...

class Fill(_message.Message):
    __slots__ = ("token", "token_id", "text", "score")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    token: str
    token_id: int
    text: str
    score: float
    def __init__(self, token: _Optional[str] = ..., token_id: _Optional[int] = ..., text: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class RunHeadsRequest(_message.Message):
    __slots__ = ("model", "texts", "second_texts", "long_texts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    SECOND_TEXTS_FIELD_NUMBER: _ClassVar[int]
    LONG_TEXTS_FIELD_NUMBER: _ClassVar[int]
    model: ModelSelector
    texts: _containers.RepeatedScalarFieldContainer[str]
    second_texts: _containers.RepeatedScalarFieldContainer[str]
    long_texts: LongTextOptions
    def __init__(self, model: _Optional[_Union[ModelSelector, _Mapping]] = ..., texts: _Optional[_Iterable[str]] = ..., second_texts: _Optional[_Iterable[str]] = ..., long_texts: _Optional[_Union[LongTextOptions, _Mapping]] = ...) -> None: ...

class RunHeadsResponse(_message.Message):
    __slots__ = ("results", "model_version")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[HeadsResult]
    model_version: int
    def __init__(self, results: _Optional[_Iterable[_Union[HeadsResult, _Mapping]]] = ..., model_version: _Optional[int] = ...) -> None: ...

class HeadsResult(_message.Message):
    __slots__ = ("heads", "error")
    HEADS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    heads: HeadMap
    error: ItemError
    def __init__(self, heads: _Optional[_Union[HeadMap, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class HeadMap(_message.Message):
    __slots__ = ("heads",)
    class HeadsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: HeadResult
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[HeadResult, _Mapping]] = ...) -> None: ...
    HEADS_FIELD_NUMBER: _ClassVar[int]
    heads: _containers.MessageMap[str, HeadResult]
    def __init__(self, heads: _Optional[_Mapping[str, HeadResult]] = ...) -> None: ...

class HeadResult(_message.Message):
    __slots__ = ("entities", "classification", "value")
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    entities: EntityList
    classification: Classification
    value: float
    def __init__(self, entities: _Optional[_Union[EntityList, _Mapping]] = ..., classification: _Optional[_Union[Classification, _Mapping]] = ..., value: _Optional[float] = ...) -> None: ...

class AnnotateRequest(_message.Message):
    __slots__ = ("find_entities", "classify", "regress", "embed", "answer_questions", "fill_mask", "run_heads")
    FIND_ENTITIES_FIELD_NUMBER: _ClassVar[int]
    CLASSIFY_FIELD_NUMBER: _ClassVar[int]
    REGRESS_FIELD_NUMBER: _ClassVar[int]
    EMBED_FIELD_NUMBER: _ClassVar[int]
    ANSWER_QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    FILL_MASK_FIELD_NUMBER: _ClassVar[int]
    RUN_HEADS_FIELD_NUMBER: _ClassVar[int]
    find_entities: FindEntitiesRequest
    classify: ClassifyRequest
    regress: RegressRequest
    embed: EmbedRequest
    answer_questions: AnswerQuestionsRequest
    fill_mask: FillMaskRequest
    run_heads: RunHeadsRequest
    def __init__(self, find_entities: _Optional[_Union[FindEntitiesRequest, _Mapping]] = ..., classify: _Optional[_Union[ClassifyRequest, _Mapping]] = ..., regress: _Optional[_Union[RegressRequest, _Mapping]] = ..., embed: _Optional[_Union[EmbedRequest, _Mapping]] = ..., answer_questions: _Optional[_Union[AnswerQuestionsRequest, _Mapping]] = ..., fill_mask: _Optional[_Union[FillMaskRequest, _Mapping]] = ..., run_heads: _Optional[_Union[RunHeadsRequest, _Mapping]] = ...) -> None: ...

class AnnotateResponse(_message.Message):
    __slots__ = ("find_entities", "classify", "regress", "embed", "answer_questions", "fill_mask", "run_heads")
    FIND_ENTITIES_FIELD_NUMBER: _ClassVar[int]
    CLASSIFY_FIELD_NUMBER: _ClassVar[int]
    REGRESS_FIELD_NUMBER: _ClassVar[int]
    EMBED_FIELD_NUMBER: _ClassVar[int]
    ANSWER_QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    FILL_MASK_FIELD_NUMBER: _ClassVar[int]
    RUN_HEADS_FIELD_NUMBER: _ClassVar[int]
    find_entities: FindEntitiesResponse
    classify: ClassifyResponse
    regress: RegressResponse
    embed: EmbedResponse
    answer_questions: AnswerQuestionsResponse
    fill_mask: FillMaskResponse
    run_heads: RunHeadsResponse
    def __init__(self, find_entities: _Optional[_Union[FindEntitiesResponse, _Mapping]] = ..., classify: _Optional[_Union[ClassifyResponse, _Mapping]] = ..., regress: _Optional[_Union[RegressResponse, _Mapping]] = ..., embed: _Optional[_Union[EmbedResponse, _Mapping]] = ..., answer_questions: _Optional[_Union[AnswerQuestionsResponse, _Mapping]] = ..., fill_mask: _Optional[_Union[FillMaskResponse, _Mapping]] = ..., run_heads: _Optional[_Union[RunHeadsResponse, _Mapping]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelSelector
    def __init__(self, model: _Optional[_Union[ModelSelector, _Mapping]] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelInfo
    def __init__(self, model: _Optional[_Union[ModelInfo, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("name", "task", "method", "max_length", "lengths", "labels", "multi_label", "pooling", "normalized", "mask_token", "heads", "versions")
    class HeadsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: HeadInfo
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[HeadInfo, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MULTI_LABEL_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    NORMALIZED_FIELD_NUMBER: _ClassVar[int]
    MASK_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    task: str
    method: str
    max_length: int
    lengths: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    multi_label: bool
    pooling: str
    normalized: bool
    mask_token: str
    heads: _containers.MessageMap[str, HeadInfo]
    versions: _containers.RepeatedCompositeFieldContainer[ModelVersion]
    def __init__(self, name: _Optional[str] = ..., task: _Optional[str] = ..., method: _Optional[str] = ..., max_length: _Optional[int] = ..., lengths: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[str]] = ..., multi_label: bool = ..., pooling: _Optional[str] = ..., normalized: bool = ..., mask_token: _Optional[str] = ..., heads: _Optional[_Mapping[str, HeadInfo]] = ..., versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ...) -> None: ...

class HeadInfo(_message.Message):
    __slots__ = ("task", "labels", "multi_label")
    TASK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MULTI_LABEL_FIELD_NUMBER: _ClassVar[int]
    task: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    multi_label: bool
    def __init__(self, task: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., multi_label: bool = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("version", "state", "error_message")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    version: int
    state: VersionState
    error_message: str
    def __init__(self, version: _Optional[int] = ..., state: _Optional[_Union[VersionState, str]] = ..., error_message: _Optional[str] = ...) -> None: ...
