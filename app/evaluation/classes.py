"""The classes of a model, by what people call them in folders and files: wnid, name or index."""

from collections import defaultdict
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final

from app.records import Label
from app.setup_errors import LabelsError

_SHOWN: Final = 3


class Classes:
    """Finds classes by their wnid, their names, one of their names, or their index, in this order.

    Upper and lower case are the same, and so are a space, `_` and `-`. Behind a wnid anything may
    follow: folders are called `n02085620-Chihuahua`, Kaggle's labels have boxes there.
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        self._labels = labels
        self._known: list[dict[str, set[int]]] = [defaultdict(set) for _ in range(3)]
        wnids, full, single = self._known
        for index, label in enumerate(labels):
            if label.wnid is not None:
                wnids[_plain(label.wnid)].add(index)
            full[_plain(label.text)].add(index)
            for name in label.text.split(","):
                single[_plain(name)].add(index)

    def __len__(self) -> int:
        """Return how many classes there are."""
        return len(self._labels)

    def find(self, text: str) -> int:
        """Return the index of a class.

        Raises:
            LabelsError: If there is none of that name, or there are several; without a full stop.
        """
        wanted = _plain(text)
        for known in self._known:
            found = known.get(wanted)
            if found is not None:
                if len(found) > 1:
                    raise LabelsError(f"{text!r} is the name of {self._listed(found)}")
                return next(iter(found))
        if leading := self._known[0].get(wanted.partition(" ")[0]):
            return next(iter(leading))
        if wanted.isdecimal() and wanted.isascii():
            if int(wanted) < len(self._labels):
                return int(wanted)
            raise LabelsError(f"{text!r} is no class: the last has the index {len(self) - 1}")
        near = get_close_matches(wanted, [name for known in self._known for name in known], 1)
        hint = f"; the nearest name is {near[0]!r}" if near else ""
        raise LabelsError(f"{text!r} is no class of this model{hint}")

    def key(self, index: int) -> str:
        """Return what tells a class from all others, in other models too: its wnid, or its names."""
        label = self._labels[index]
        return label.wnid or label.text

    def text(self, index: int) -> str:
        """Return the names of a class, for people."""
        return self._labels[index].text

    def describe(self, index: int) -> dict[str, Any]:
        """Return a class for the report."""
        label = self._labels[index]
        return {"class_index": index, "wnid": label.wnid, "label": label.text}

    def _listed(self, found: set[int]) -> str:
        some = sorted(found)[:_SHOWN]
        names = ", ".join(f"{self._labels[one].wnid or 'class'} (index {one})" for one in some)
        return f"{len(found)} classes: {names}. Use the wnid or the index"


def _plain(text: str) -> str:
    return " ".join(text.replace("_", " ").replace("-", " ").casefold().split())
