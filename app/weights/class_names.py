"""Finds the class that a person names: by its index, its WordNet id or its label."""

from collections.abc import Sequence
from typing import Final

from app.records import Label

_LETTERS: Final = 3
"""Of a text that similar names are looked for."""
_SHOWN: Final = 3
"""Classes of a list in a sentence."""


class ClassNames:
    """The names of the classes of one model, in any case.

    Attributes:
        most_names: Names, with commas between them, of the longest label.
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        """Take one label per class, in the order of the output."""
        self.most_names = max(1 + label.text.count(",") for label in labels)
        self._labels = labels
        self._whole: dict[str, list[int]] = {}
        self._names: dict[str, list[int]] = {}
        for index, label in enumerate(labels):
            for whole in filter(None, (label.wnid, label.text)):
                self._whole.setdefault(_plain(whole), []).append(index)
            for name in {_plain(one) for one in label.text.split(",")}:
                self._names.setdefault(name, []).append(index)

    @property
    def last(self) -> int:
        """Return the largest index."""
        return len(self._labels) - 1

    def find(self, text: str) -> list[int]:
        """Return the classes that a text may mean; one if it is clear, none if it is unknown.

        A number is an index. Else it is a WordNet id or a whole label or, if neither fits, one of
        the names in a label: `tabby` of `tabby, tabby cat`.
        """
        plain = _plain(text)
        if plain.isascii() and plain.isdigit():
            number = int(plain.lstrip("0")[:10] or "0")
            return [number] if number < len(self._labels) else []
        return self._whole.get(plain) or self._names.get(plain, [])

    def similar(self, text: str) -> list[int]:
        """Return a few classes with a name that a text of some letters is a part of."""
        plain = _plain(text)
        found = (
            index for name, classes in self._names.items() if plain in name for index in classes
        )
        return list(dict.fromkeys(found))[:_SHOWN] if len(plain) >= _LETTERS else []

    def describe(self, classes: Sequence[int]) -> str:
        """List classes in a sentence, at most a few: `281 (tabby, tabby cat)`."""
        shown = [f"{index} ({self._labels[index].text[:60]})" for index in classes[:_SHOWN]]
        return ", ".join(shown) + (" and more" if len(classes) > _SHOWN else "")


def _plain(text: str) -> str:
    return ",".join(" ".join(one.split()) for one in text.casefold().split(","))
