"""The files beside an ONNX file that hold its weights, checked against the manifest."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from app.graph.data_files import data_files
from app.setup_errors import CheckpointError, ManifestError
from app.weights.download.part_file import Progress, hash_file
from app.weights.manifests.manifest import DataFile, Manifest


def verify_data_files(
    path: Path, sha256: str, pinned: str | None, manifest: Manifest, progress: Progress
) -> tuple[str, int]:
    """Verify the files that an ONNX file keeps weights in.

    Args:
        path: The ONNX file, already verified.
        sha256: Its SHA-256.
        pinned: Its digest in the manifest; if there is one, each of the others needs one too.
        manifest: What it says of them.
        progress: Called while they are read.

    Returns:
        The SHA-256 of all together, and their size in bytes. Together means: of what
        `sha256sum FILE DATA...` prints, the others in the order of their names. Of a file alone,
        it is its own.

    Raises:
        CheckpointError: If one is missing, is not in the same folder, or differs from the manifest.
        ManifestError: If the manifest speaks of a file that the ONNX file does not need.
    """
    known = {one.file: one for one in manifest.external}
    try:
        names = data_files(path)
    except CheckpointError as exc:
        raise CheckpointError(f"{path}: {exc}") from None  # the log would say it twice
    for name in known.keys() - set(names):
        needed = ", ".join(map(repr, names)) or "no other file"
        raise ManifestError(
            manifest.path, "external", f"names {name!r}, {path.name} needs {needed}"
        )
    lines, size = [f"{sha256}  {path.name}\n"], 0
    for name in names:
        file, entry = path.parent / name, known.get(name, DataFile(file=name))
        found = hash_file(file, entry.digest, progress)
        size += found.count
        if entry.size not in {None, found.count}:
            raise CheckpointError(
                f"{file}: has {found.count} bytes, but {manifest.path} says {entry.size}"
            )
        if entry.digest is None and pinned is not None:
            raise CheckpointError(
                f"{file}: holds weights of {path.name}, and {manifest.path} pins only that; add a"
                f' table [[external]] with file = "{name}" and sha256 = "{found.sha256}"'
            )
        if entry.digest not in {None, found.digest}:
            raise CheckpointError(
                f"{file}: is {found.digest}, but {manifest.path} pins {entry.digest}"
            )
        lines.append(f"{found.sha256}  {name}\n")
    if names:
        sha256 = hashlib.sha256("".join(lines).encode()).hexdigest()
    return sha256, size


def pinned_together(digest: str | None, external: Iterable[DataFile]) -> str | None:
    """Join the pinned digest of an ONNX file and those of its other files; None if it has none."""
    return digest and "+".join([digest, *sorted(f"{one.file}={one.digest}" for one in external)])
