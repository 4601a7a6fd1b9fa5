"""Describe a model as a message of the text API."""

from __future__ import annotations

from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.service import ModelInfo
from bertbundle_gateway.grpc_api.methods import RPC_OF_METHOD

__all__ = ["model_info"]


def model_info(info: ModelInfo) -> pb.ModelInfo:
    """Return the description of a model."""
    manifest = info.manifest
    message = pb.ModelInfo(
        name=info.name,
        task=manifest.task,
        method=RPC_OF_METHOD.get(info.method, ""),
        max_length=manifest.max_length,
        lengths=sorted(set(manifest.signatures.values())),
        labels=manifest.labels,
        multi_label=manifest.multi_label,
        pooling=manifest.pooling,
        normalized=manifest.normalized,
        mask_token=manifest.mask_token,
    )
    for name, head in manifest.heads.items():
        message.heads[name].CopyFrom(pb.HeadInfo(task=head.task, labels=head.labels, multi_label=head.multi_label))
    for status in info.versions:
        state = _STATES.get(f"VERSION_STATE_{status.state}", pb.VERSION_STATE_UNSPECIFIED)
        message.versions.add(version=status.version, state=state, error_message=status.error_message)
    return message


_STATES = dict(pb.VersionState.items())
