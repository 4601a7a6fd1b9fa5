"""Thin client of BERT bundles on a TensorFlow Serving compatible server.

>>> from bertbundle import Client
>>> client = Client("localhost:8500", "ner")  # nothing is sent until the first question
"""

from bertbundle.client import Client
from bertbundle.errors import (
    BertBundleError,
    CheckpointError,
    DeadlineExceeded,
    ExportError,
    InputError,
    InvalidRequest,
    ManifestError,
    ModelNotFound,
    OutputNamesError,
    OutputShapeError,
    Overloaded,
    ServeError,
    ServerError,
    ServerUnavailable,
    SignatureNotFound,
    ToleranceError,
)
from bertbundle.manifest import Manifest
from bertbundle.primitives import Answer, Classification, Entity, Fill, Prediction, VersionStatus
from bertbundle.transport import GrpcTransport, Tls, Transport

__all__ = [
    "Answer",
    "BertBundleError",
    "CheckpointError",
    "Classification",
    "Client",
    "DeadlineExceeded",
    "Entity",
    "ExportError",
    "Fill",
    "GrpcTransport",
    "InputError",
    "InvalidRequest",
    "Manifest",
    "ManifestError",
    "ModelNotFound",
    "OutputNamesError",
    "OutputShapeError",
    "Overloaded",
    "Prediction",
    "ServeError",
    "ServerError",
    "ServerUnavailable",
    "SignatureNotFound",
    "Tls",
    "ToleranceError",
    "Transport",
    "VersionStatus",
]
__version__ = "0.1.0"
