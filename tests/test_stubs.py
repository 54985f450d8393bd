"""Laws: the committed stubs are what `make proto` makes of the committed protos, byte for byte; both halves import."""

import subprocess
import sys
from pathlib import Path


def stubs(protos: Path) -> dict[str, bytes]:
    found = (path for path in protos.glob("hearth/**/*_pb2*.py*") if path.suffix in (".py", ".pyi"))
    return {str(path.relative_to(protos)): path.read_bytes() for path in found}


def test_the_stubs_are_what_the_protos_generate(repository: Path, tmp_path: Path):
    protos = repository / "protos"
    sources = sorted(str(path.relative_to(protos)) for path in protos.glob("hearth/**/*.proto"))

    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, *sources], cwd=protos, check=True)

    committed, generated = stubs(protos), stubs(tmp_path)
    assert sorted(committed) == sorted(generated), "run `make proto` and remove stubs without a proto"
    stale = [name for name in sorted(generated) if committed[name] != generated[name]]
    assert stale == [], "run `make proto`"


def test_stubs_and_packages_import_from_another_folder(tmp_path: Path):
    command = "from hearth.v1 import decision_pb2_grpc, signal_pb2; import household; signal_pb2.Signal()"
    subprocess.run([sys.executable, "-c", command], cwd=tmp_path, check=True)
