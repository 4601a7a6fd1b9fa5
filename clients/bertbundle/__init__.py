"""A thin client for BERT bundles on a TensorFlow Serving compatible server.

>>> from bertbundle import Client
>>> client = Client("localhost:8500", "ner")  # connects on the first request
"""

from bertbundle.client.async_client import AsyncClient
from bertbundle.client.external_model import foreign_manifest
from bertbundle.client.rollout import RolloutCounts, Shadow
from bertbundle.client.sync_client import Client
from bertbundle.contract.heads import Head
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Answer, Classification, Entity, Fill, PredictCall, Prediction, VersionStatus
from bertbundle.errors import (
    BertBundleError,
    DeadlineExceeded,
    InputError,
    InvalidRequest,
    ManifestError,
    ModelNotFound,
    Overloaded,
    ServerError,
    ServerUnavailable,
    SignatureNotFound,
    TextTooLong,
)
from bertbundle.pipelines.pipeline import Pipeline
from bertbundle.session.retries import Retries
from bertbundle.transports.base import AsyncTransport, Transport
from bertbundle.transports.credentials import Tls
from bertbundle.transports.grpc import AsyncGrpcTransport, GrpcTransport
from bertbundle.transports.rest import RestTransport

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncGrpcTransport",
    "AsyncTransport",
    "BertBundleError",
    "Classification",
    "Client",
    "DeadlineExceeded",
    "Entity",
    "Fill",
    "GrpcTransport",
    "Head",
    "InputError",
    "InvalidRequest",
    "Manifest",
    "ManifestError",
    "ModelNotFound",
    "Overloaded",
    "Pipeline",
    "PredictCall",
    "Prediction",
    "RestTransport",
    "Retries",
    "RolloutCounts",
    "ServerError",
    "ServerUnavailable",
    "Shadow",
    "SignatureNotFound",
    "TextTooLong",
    "Tls",
    "Transport",
    "VersionStatus",
    "foreign_manifest",
]
__version__ = "0.1.0"
