"""The files of a certificate, by name: which belong together, which are missing, which are too many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

SUFFIXES = (".json", ".pdf", ".seal.json")
SIGNATURE = ".asc"
PUBLIC_KEY = "public.asc"
# Longest first: `.json` also ends `.seal.json`.
_ENDINGS = sorted((*SUFFIXES, *(f"{suffix}{SIGNATURE}" for suffix in SUFFIXES)), key=len, reverse=True)


class Part(StrEnum):
    """What of a certificate failed."""

    JSON = "JSON"
    PDF = "PDF"
    SEAL = "seal"
    SIGNATURE = "signature"
    SIGNER = "signer"
    CHAIN = "chain"
    MISSING = "missing part"
    EXTRA = "extra file"


PART_OF = {".json": Part.JSON, ".pdf": Part.PDF, ".seal.json": Part.SEAL}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: which part, in which file, and a sentence."""

    part: Part
    file: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.part}: {self.file}: {self.sentence}"


@dataclass(slots=True)
class Bundle:
    """The files that share a folder and a stem: {ending: bytes}."""

    stem: str
    files: dict[str, bytes] = field(default_factory=dict)
    public_key: bytes | None = None

    def name(self, ending: str) -> str:
        """A file's name in this bundle."""
        return f"{self.stem}{ending}"

    def missing(self) -> Iterator[Finding]:
        """Every part that a certificate must have and this one lacks."""
        for ending in (*SUFFIXES, *(f"{suffix}{SIGNATURE}" for suffix in SUFFIXES)):
            if ending not in self.files:
                yield Finding(
                    Part.MISSING,
                    self.name(ending),
                    "This part is missing. Give all seven files of the certificate.",
                )
        if self.public_key is None:
            yield Finding(
                Part.MISSING,
                PUBLIC_KEY,
                "The public key is missing. Give all seven files of the certificate.",
            )


def collect(paths: Iterable[Path]) -> tuple[list[Bundle], list[Finding]]:
    """The bundles in `paths` (a folder stands for all its files), and what is wrong with the list itself."""
    bundles: dict[tuple[Path, str], Bundle] = {}
    keys: dict[Path, bytes] = {}
    findings: list[Finding] = []
    for path in dict.fromkeys(file.resolve() for given in paths for file in _files(given)):
        if not path.is_file():
            findings.append(Finding(Part.MISSING, path.name, "There is no such file."))
        elif path.name == PUBLIC_KEY:
            keys[path.parent] = path.read_bytes()
        elif ending := next((ending for ending in _ENDINGS if path.name.endswith(ending)), None):
            stem = path.name.removesuffix(ending)
            bundle = bundles.setdefault((path.parent, stem), Bundle(stem))
            bundle.files[ending] = path.read_bytes()
        else:
            findings.append(
                Finding(Part.EXTRA, path.name, "This file belongs to no certificate. Take it out.")
            )
    for (folder, _), bundle in bundles.items():
        bundle.public_key = keys.get(folder)
    if not bundles:
        findings.append(
            Finding(Part.MISSING, "certificate", "No certificate was given. Give all seven files of one.")
        )
    return list(bundles.values()), findings


def _files(path: Path) -> Iterable[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]
