"""What requirements/ pins can be installed, today and after the next release of anything."""

import re
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", ["cpu", "dev"])
def test_extras_are_pinned_too(name):
    """The pin of `coverage[toml]` has the extra, and is not `coverage` alone.

    Otherwise pip 23.2, which Python 3.11 brings, takes the newest release for the extra, and
    ends because that one is not pinned.
    """
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    lines = re.findall(r"^([^\s#=]+(?:, [^\s=]+)*)==(\S+)(?: ; (.*?))? \\$", text, re.MULTILINE)
    pins = [
        Requirement(f"{pin}=={version}" + (f"; {marker}" if marker else ""))
        for pin, version, marker in lines
    ]
    here = {
        canonicalize_name(pin.name): pin for pin in pins if not pin.marker or pin.marker.evaluate()
    }
    assert len(here) > 30

    for pin in here.values():
        of_extras = [{"extra": extra} for extra in ("", *pin.extras)]
        for line in distribution(pin.name).requires or ():
            wanted = Requirement(line)
            if wanted.extras and (not wanted.marker or any(map(wanted.marker.evaluate, of_extras))):
                assert wanted.extras <= here[canonicalize_name(wanted.name)].extras, (pin, line)


def test_cuda_has_one_onnxruntime():
    """onnxruntime-gpu takes the place of onnxruntime, whose files have the same names."""
    pins = (REPOSITORY / "requirements" / "cuda.txt").read_text()

    assert ["onnxruntime-gpu"] == re.findall(r"^(onnxruntime[a-z-]*)\b", pins, re.MULTILINE)
