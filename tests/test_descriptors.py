"""Room for connections."""

import pytest

from app.descriptors import most_connections


class Limits:
    """Stands for the module `resource`."""

    RLIMIT_NOFILE = 7
    RLIM_INFINITY = -1

    def __init__(self, soft, hard):
        self.limits = (soft, hard)

    def getrlimit(self, which):
        assert self.RLIMIT_NOFILE == which
        return self.limits

    def setrlimit(self, which, limits):
        assert self.RLIMIT_NOFILE == which
        self.limits = limits


@pytest.mark.parametrize(
    ("limits", "expected", "after"),
    [
        ((1024, 1_000_000), 4096, (4224, 1_000_000)),
        ((1024, -1), 4096, (4224, -1)),
        ((1024, 2048), 1920, (2048, 2048)),
        ((20_000, 20_000), 4096, (20_000, 20_000)),
        ((-1, -1), 4096, (-1, -1)),
    ],
)
def test_limit_of_the_process_is_raised_as_far_as_it_goes(limits, expected, after):
    """What the shell has set is raised for the connections; what the kernel has set bounds them."""
    module = Limits(*limits)

    assert expected == most_connections(4096, module)  # type: ignore[arg-type] # a fake
    assert after == module.limits
