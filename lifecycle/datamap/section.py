"""One mapping of the YAML data map, read entry by entry; what nobody asked for is refused at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeVar

E = TypeVar("E", bound=StrEnum)


class BadMap(ValueError):
    """The data map can't be used. The text is a sentence that names the place."""


class Section:
    """Typed reading of one mapping at `place` ("postgresql.tables.users"). Each method raises BadMap with the place."""

    def __init__(self, place: str, page: Any) -> None:
        self.place = place
        page = {} if page is None else page
        if not isinstance(page, Mapping):
            raise BadMap(f"{place or 'The data map'} must be a mapping, it is {_kind(page)}.")
        self._page = page
        self._asked: set[str] = set()

    @property
    def empty(self) -> bool:
        return not self._page

    def at(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def done(self) -> None:
        """Refuses entries that nothing reads: a misspelled word must not pass silently."""
        for name in self._page:
            if name not in self._asked:
                known = ", ".join(sorted(self._asked))
                raise BadMap(f"{self.at(str(name))}: no such entry. Known here: {known}.")

    def optional(self, name: str) -> str | None:
        value = self._take(name)
        if value is None:
            return None
        return self._text(self.at(name), value)

    def string(self, name: str, default: str | None = None) -> str:
        value = self.optional(name)
        if value is None:
            if default is None:
                raise BadMap(f"{self.at(name)} is missing: give it a text.")
            return default
        return value

    def integer(self, name: str) -> int:
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadMap(f"{self.at(name)} must be a whole number, it is {_kind(value)}.")
        return value

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        values = self._list(name)
        if values is None:
            return default
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise BadMap(f"{self.at(name)} must list whole numbers, {_kind(value)} is among them.")
        return tuple(values)

    def strings(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        values = self._list(name)
        if values is None:
            return default
        made = tuple(self._text(f"{self.at(name)}[{i}]", value) for i, value in enumerate(values))
        if len(set(made)) != len(made):
            raise BadMap(f"{self.at(name)} lists an entry twice.")
        return made

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        section = self.section(name)
        return tuple(
            (str(key), self._text(section.at(str(key)), value)) for key, value in section._page.items()
        )

    def nullable_pairs(self, name: str) -> tuple[tuple[str, str | None], ...]:
        section = self.section(name)
        return tuple(
            (str(key), None if value is None else self._text(section.at(str(key)), value))
            for key, value in section._page.items()
        )

    def choice(self, name: str, options: type[E], default: E) -> E:
        value = self.optional(name)
        if value is None:
            return default
        try:
            return options(value)
        except ValueError:
            known = ", ".join(option.value for option in options)
            raise BadMap(f"{self.at(name)}: {value!r} is none of {known}.") from None

    def section(self, name: str) -> Section:
        return Section(self.at(name), self._take(name))

    def sections(self, name: str) -> list[Section]:
        return [Section(f"{self.at(name)}[{i}]", entry) for i, entry in enumerate(self._list(name) or [])]

    def named(self, name: str) -> Iterator[tuple[str, Section]]:
        section = self.section(name)
        for key, value in section._page.items():
            yield str(key), Section(section.at(str(key)), value)

    def _take(self, name: str) -> Any:
        self._asked.add(name)
        return self._page.get(name)

    def _list(self, name: str) -> list[Any] | None:
        value = self._take(name)
        if value is not None and not isinstance(value, list):
            raise BadMap(f"{self.at(name)} must be a list, it is {_kind(value)}.")
        return value

    @staticmethod
    def _text(place: str, value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise BadMap(f"{place} must be a text, it is {_kind(value)}. Numbers and true/false need quotes.")
        return value


def _kind(value: Any) -> str:
    names = {
        dict: "a mapping",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        type(None): "missing",
    }
    return names.get(type(value), f"of type {type(value).__name__}")
