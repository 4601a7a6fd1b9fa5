"""Hold committed protobuf code against the .proto it was made of."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2


def descriptors(root: Path, name: str, committed: Any) -> tuple[Any, Any]:
    """Return the file descriptors of ``root/name`` compiled now, and of the committed module; equal if up to date.

    protoc runs in a process of its own: with TensorFlow in one it ends in a segmentation fault.
    """
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "set.bin"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"--descriptor_set_out={target}", name]
        subprocess.run(command, check=True, timeout=60)
        (compiled,) = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file
    generated = descriptor_pb2.FileDescriptorProto.FromString(committed.DESCRIPTOR.serialized_pb)
    for each in (compiled, generated):
        each.ClearField("source_code_info")
        _clear_json_names(each.message_type)
    return compiled, generated


def _clear_json_names(messages: Any) -> None:
    """Protoc writes json_name into a descriptor set only; it follows from the name."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        _clear_json_names(message.nested_type)
