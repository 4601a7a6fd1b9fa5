"""Make a model.tar.gz for SageMaker's TensorFlow Serving container from a model's directory.

The archive has the SavedModel of each version, and in ``code/`` the file inference.py and the client. With --wheels,
the client's dependencies come from a directory of wheels, and the endpoint needs no network; otherwise the container
installs them when it starts.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import requires
from pathlib import Path

import bertbundle
from bertbundle import InputError
from bertbundle._shared.commands import CommandParser, run_command

__all__ = ["main", "pack"]

_INFERENCE = Path(__file__).with_name("inference.py")
_CLIENT = Path(bertbundle.__file__).parent
_SUFFIXES = {".py", ".pyi", ".typed", ".proto"}


def pack(model: Path, output: Path, wheels: Path | None = None) -> None:
    """Write the archive, and only a complete one.

    Args:
        model: the directory of a model, with one directory per version; its name becomes the name of the model.
        output: the archive to write.
        wheels: directory with wheels of the client's dependencies, for the container's platform.

    Raises:
        InputError: there is no SavedModel, or no wheel.
    """
    versions = _versions(model)
    if output.suffixes[-2:] != [".tar", ".gz"]:
        raise InputError(f"--output {output} is not a name for SageMaker. Choose one that ends with .tar.gz.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".bertbundle-pack-") as directory:
        archive = Path(directory) / output.name
        with tarfile.open(archive, "w:gz") as tar:
            for version in versions:
                tar.add(version, f"{model.resolve().name}/{version.name}", filter=_of_saved_model)
            tar.add(_INFERENCE, "code/inference.py")
            _add_client(tar, wheels, Path(directory))
        archive.replace(output)


def _versions(model: Path) -> list[Path]:
    found = [path for path in sorted(model.glob("*")) if path.name.isdecimal() and (path / "saved_model.pb").is_file()]
    if not found:
        raise InputError(
            f"{model} has no version with a saved_model.pb. Give the directory that has one directory per version."
        )
    return found


def _of_saved_model(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out the ONNX files, which TensorFlow Serving does not read, and the owner."""
    if member.name.endswith((".onnx", ".onnx.data")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _add_client(tar: tarfile.TarFile, wheels: Path | None, work: Path) -> None:
    # The container ignores requirements.txt if there is code/lib, so it is one or the other.
    folder = "code" if wheels is None else "code/lib"
    for path in sorted(_CLIENT.rglob("*")):
        if path.suffix in _SUFFIXES:
            tar.add(path, f"{folder}/bertbundle/{path.relative_to(_CLIENT)}")
    if wheels is None:
        needed = [name for name in requires("bertbundle") or () if "extra ==" not in name]
        _add_text(tar, "code/requirements.txt", "".join(f"{name}\n" for name in needed))
    else:
        tar.add(_unpacked(wheels, work / "lib"), "code/lib")


def _unpacked(wheels: Path, target: Path) -> Path:
    archives = sorted(wheels.glob("*.whl"))
    if not archives:
        raise InputError(
            f"--wheels {wheels} has no wheels. Fill it with `pip download --only-binary :all: --dest {wheels} ...`."
        )
    for archive in archives:
        shutil.unpack_archive(archive, target, "zip")
    return target


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(text.encode())
    tar.addfile(member, io.BytesIO(text.encode()))


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = CommandParser(prog="pack.py", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("model", type=Path, metavar="MODEL", help="directory of a model, such as models/ner")
    parser.add_argument("--output", type=Path, default=Path("model.tar.gz"), help="default: %(default)s")
    parser.add_argument("--wheels", type=Path, help="directory with wheels of the client's dependencies")
    flags: argparse.Namespace = parser.parse_args(arguments)

    def run() -> None:
        try:
            pack(flags.model, flags.output, flags.wheels)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{flags.output} cannot be made: {error}.") from error
        sys.stdout.write(f"{flags.output}: {flags.output.stat().st_size / 1e6:.1f} MB\n")

    return run_command("pack.py", run)


if __name__ == "__main__":
    sys.exit(main())
