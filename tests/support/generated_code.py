"""Compare committed protobuf code with the .proto file that it was generated from."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2


def descriptors(root: Path, name: str, committed: Any) -> tuple[Any, Any]:
    """Compile ``root/name`` and return its file descriptor and that of the committed module; equal if up to date.

    protoc runs in a separate process: in one process with TensorFlow it crashes.
    """
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "set.bin"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"--descriptor_set_out={target}", name]
        subprocess.run(command, check=True, timeout=60)
        (compiled,) = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file
    generated = descriptor_pb2.FileDescriptorProto.FromString(committed.DESCRIPTOR.serialized_pb)
    for descriptor in (compiled, generated):
        descriptor.ClearField("source_code_info")
        _clear_json_names(descriptor.message_type)
    return compiled, generated


def _clear_json_names(messages: Any) -> None:
    """Remove json_name, which follows from the name and which protoc writes into descriptor sets only."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        _clear_json_names(message.nested_type)
