"""Strict reading of a TOML file: each mistake is named with its file, its key and the remedy."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from app.errors import ManifestError

BRIGHTEST: Final = 255
DIGEST_DIGITS: Final = {"sha256": 64, "sha384": 96}

Value: TypeAlias = str | int | float | bool | list["Value"] | dict[str, "Value"]


def read_table(path: Path) -> "Table":
    """Read the whole file as one table.

    Raises:
        ManifestError: If it cannot be read, or is not TOML.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ManifestError(path, "", f"cannot be read as TOML: {exc}") from exc
    return Table(path, "", content)


class Table:
    """One table of a manifest; remembers which keys were asked for.

    Every method that reads a key raises ManifestError if it is not what was expected.
    """

    def __init__(self, path: Path, prefix: str, content: dict[str, Value]) -> None:
        self.path = path
        self._prefix = prefix
        self._content = content
        self._asked: set[str] = set()

    def fail(self, key: str, problem: str) -> NoReturn:
        """Refuse the file because of this key."""
        raise ManifestError(self.path, self._prefix + key, problem)

    def has(self, key: str) -> bool:
        """Tell whether the key is there."""
        self._asked.add(key)
        return key in self._content

    def finish(self) -> None:
        """Refuse keys that nobody asked for: most are slips of the pen."""
        unknown = sorted(self._content.keys() - self._asked)
        if unknown:
            known = ", ".join(sorted(self._asked))
            self.fail(unknown[0], f"is not known here, expected one of: {known}")

    def table(self, key: str) -> "Table":
        """Read a table inside this one."""
        value = self._get(key, "a table")
        if not isinstance(value, dict):
            raise self._wrong(key, value, f"a table [{self._prefix}{key}]")
        return Table(self.path, f"{self._prefix}{key}.", value)

    def text(
        self, key: str, *, pattern: re.Pattern[str] | None = None, expected: str = "a text"
    ) -> str:
        """Read a text that is not empty and matches the pattern."""
        value = self._get(key, expected)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, value, expected)
        if pattern is not None and not pattern.fullmatch(value):
            raise self._wrong(key, value, expected)
        return value

    def choice(self, key: str, among: Iterable[str]) -> str:
        """Read one of several words."""
        expected = "one of " + ", ".join(among)
        value = self._get(key, expected)
        if not isinstance(value, str) or value not in among:
            raise self._wrong(key, value, expected)
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        if not self.has(key):
            return default
        value = self._content[key]
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Read a number of a range, ends included."""
        expected = f"a number from {low} to {high}"
        value = self._get(key, expected)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, value, expected)
        if not low <= value <= high:
            raise self._wrong(key, value, expected)
        return float(value)

    def whole(self, key: str, low: int, high: int) -> int:
        """Read a whole number of a range, ends included."""
        expected = f"a whole number from {low} to {high}"
        value = self._get(key, expected)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(key, value, expected)
        return value

    def triple(self, key: str) -> tuple[float, float, float]:
        """Read one number a channel, 0..255."""
        expected = "three numbers from 0 to 255, one a channel"
        match self._get(key, expected):
            case [int() | float() as a, int() | float() as b, int() | float() as c] if all(
                not isinstance(v, bool) and 0 <= v <= BRIGHTEST for v in (a, b, c)
            ):
                return float(a), float(b), float(c)
            case value:
                raise self._wrong(key, value, expected)

    def digest(self) -> str | None:
        """Read `sha256` or `sha384`, whichever is there."""
        for algorithm, digits in DIGEST_DIGITS.items():
            if self.has(algorithm):
                pattern = re.compile(rf"[0-9a-f]{{{digits}}}")
                found = self.text(
                    algorithm, pattern=pattern, expected=f"{digits} lower-case hex digits"
                )
                return f"{algorithm}:{found}"
        return None

    def _get(self, key: str, expected: str) -> Value:
        if not self.has(key):
            raise ManifestError(self.path, self._prefix + key, f"is missing, expected {expected}")
        return self._content[key]

    def _wrong(self, key: str, value: Value, expected: str) -> ManifestError:
        return ManifestError(self.path, self._prefix + key, f"is {value!r}, expected {expected}")
