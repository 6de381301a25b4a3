"""Errors that the operator can fix: each ends a start or a command with its sentence.

SetupError
├── KeysError               the file of API keys is malformed
├── ManifestError           a manifest is wrong
├── LabelsError             a label file is malformed
├── CheckpointError         a checkpoint does not hold the network that its manifest names
│   └── PrecisionError      float16 cannot hold it
├── CalibrationError        the photos for int8 cannot be used, or int8 answers too differently
├── DownloadError           a file could not be downloaded, or its checksum differs
└── SessionError            the device or the graph cannot be used
"""

from pathlib import Path

from app.errors import VggServeError


class SetupError(VggServeError):
    """A problem that the operator has to fix: a file, a setting, a device."""


class KeysError(SetupError):
    """A malformed file of API keys."""


class ManifestError(SetupError):
    """A manifest that is wrong.

    Attributes:
        path: The manifest.
        key: The dotted key that is wrong; empty for the whole file.
        problem: What the file says there, and what was expected.
    """

    def __init__(self, path: Path, key: str, problem: str) -> None:
        super().__init__(f"{path}: {key + ': ' if key else ''}{problem}")
        self.path = path
        self.key = key
        self.problem = problem


class LabelsError(SetupError):
    """A malformed label file."""


class CheckpointError(SetupError):
    """A checkpoint that does not hold the network that its manifest names."""


class PrecisionError(CheckpointError):
    """A network whose numbers float16 may not be able to hold."""


class CalibrationError(SetupError):
    """Photos that int8 cannot be calibrated with, or weights that int8 does not answer well with."""


class DownloadError(SetupError):
    """A file that could not be downloaded, or whose checksum differs."""


class SessionError(SetupError):
    """A device that is missing, or a graph that cannot run on it."""
