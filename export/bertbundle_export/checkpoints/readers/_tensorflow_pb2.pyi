from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BundleHeader(_message.Message):
    __slots__ = ("num_shards", "endianness")
    NUM_SHARDS_FIELD_NUMBER: _ClassVar[int]
    ENDIANNESS_FIELD_NUMBER: _ClassVar[int]
    num_shards: int
    endianness: int
    def __init__(self, num_shards: _Optional[int] = ..., endianness: _Optional[int] = ...) -> None: ...

class BundleEntry(_message.Message):
    __slots__ = ("dtype", "shape", "shard_id", "offset", "size")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    SHARD_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    dtype: int
    shape: TensorShape
    shard_id: int
    offset: int
    size: int
    def __init__(self, dtype: _Optional[int] = ..., shape: _Optional[_Union[TensorShape, _Mapping]] = ..., shard_id: _Optional[int] = ..., offset: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class TensorShape(_message.Message):
    __slots__ = ("dim",)
    class Dim(_message.Message):
        __slots__ = ("size",)
        SIZE_FIELD_NUMBER: _ClassVar[int]
        size: int
        def __init__(self, size: _Optional[int] = ...) -> None: ...
    DIM_FIELD_NUMBER: _ClassVar[int]
    dim: _containers.RepeatedCompositeFieldContainer[TensorShape.Dim]
    def __init__(self, dim: _Optional[_Iterable[_Union[TensorShape.Dim, _Mapping]]] = ...) -> None: ...

class TrackableObjectGraph(_message.Message):
    __slots__ = ("nodes",)
    class TrackableObject(_message.Message):
        __slots__ = ("attributes",)
        class SerializedTensor(_message.Message):
            __slots__ = ("full_name", "checkpoint_key")
            FULL_NAME_FIELD_NUMBER: _ClassVar[int]
            CHECKPOINT_KEY_FIELD_NUMBER: _ClassVar[int]
            full_name: str
            checkpoint_key: str
            def __init__(self, full_name: _Optional[str] = ..., checkpoint_key: _Optional[str] = ...) -> None: ...
        ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
        attributes: _containers.RepeatedCompositeFieldContainer[TrackableObjectGraph.TrackableObject.SerializedTensor]
        def __init__(self, attributes: _Optional[_Iterable[_Union[TrackableObjectGraph.TrackableObject.SerializedTensor, _Mapping]]] = ...) -> None: ...
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[TrackableObjectGraph.TrackableObject]
    def __init__(self, nodes: _Optional[_Iterable[_Union[TrackableObjectGraph.TrackableObject, _Mapping]]] = ...) -> None: ...

class KerasMetadata(_message.Message):
    __slots__ = ("nodes",)
    class Node(_message.Message):
        __slots__ = ("node_path", "metadata")
        NODE_PATH_FIELD_NUMBER: _ClassVar[int]
        METADATA_FIELD_NUMBER: _ClassVar[int]
        node_path: str
        metadata: str
        def __init__(self, node_path: _Optional[str] = ..., metadata: _Optional[str] = ...) -> None: ...
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[KerasMetadata.Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[KerasMetadata.Node, _Mapping]]] = ...) -> None: ...

class SavedModel(_message.Message):
    __slots__ = ("meta_graphs",)
    META_GRAPHS_FIELD_NUMBER: _ClassVar[int]
    meta_graphs: _containers.RepeatedCompositeFieldContainer[MetaGraph]
    def __init__(self, meta_graphs: _Optional[_Iterable[_Union[MetaGraph, _Mapping]]] = ...) -> None: ...

class MetaGraph(_message.Message):
    __slots__ = ("meta_info_def", "graph_def")
    class Info(_message.Message):
        __slots__ = ("tags",)
        TAGS_FIELD_NUMBER: _ClassVar[int]
        tags: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, tags: _Optional[_Iterable[str]] = ...) -> None: ...
    META_INFO_DEF_FIELD_NUMBER: _ClassVar[int]
    GRAPH_DEF_FIELD_NUMBER: _ClassVar[int]
    meta_info_def: MetaGraph.Info
    graph_def: Graph
    def __init__(self, meta_info_def: _Optional[_Union[MetaGraph.Info, _Mapping]] = ..., graph_def: _Optional[_Union[Graph, _Mapping]] = ...) -> None: ...

class Graph(_message.Message):
    __slots__ = ("node", "library")
    class Library(_message.Message):
        __slots__ = ("function",)
        FUNCTION_FIELD_NUMBER: _ClassVar[int]
        function: _containers.RepeatedCompositeFieldContainer[Graph.Function]
        def __init__(self, function: _Optional[_Iterable[_Union[Graph.Function, _Mapping]]] = ...) -> None: ...
    class Function(_message.Message):
        __slots__ = ("node_def",)
        NODE_DEF_FIELD_NUMBER: _ClassVar[int]
        node_def: _containers.RepeatedCompositeFieldContainer[Graph.Node]
        def __init__(self, node_def: _Optional[_Iterable[_Union[Graph.Node, _Mapping]]] = ...) -> None: ...
    class Node(_message.Message):
        __slots__ = ("op",)
        OP_FIELD_NUMBER: _ClassVar[int]
        op: str
        def __init__(self, op: _Optional[str] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_FIELD_NUMBER: _ClassVar[int]
    node: _containers.RepeatedCompositeFieldContainer[Graph.Node]
    library: Graph.Library
    def __init__(self, node: _Optional[_Iterable[_Union[Graph.Node, _Mapping]]] = ..., library: _Optional[_Union[Graph.Library, _Mapping]] = ...) -> None: ...
