"""What most fakes of a session have in common: they explain nothing, and need not be tuned."""

from typing import Any


class PlainSession:
    """A session on a CPU but for its runs and lanes."""

    device = "cpu"

    @property
    def explainers(self) -> list[Any]:
        return []

    @property
    def energies(self) -> list[Any]:
        return []

    def tune(self, images: int) -> None:
        pass

    def trim(self) -> None:
        pass
