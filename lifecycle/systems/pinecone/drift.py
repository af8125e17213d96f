"""Indexes and namespaces of the project that no entry of the data map classifies."""

from __future__ import annotations

from collections.abc import Mapping

from lifecycle.datamap.model import DataMap
from lifecycle.systems.pinecone.layout import Layout
from lifecycle.systems.pinecone.reading import Reader


def unclassified(place: Mapping[str, str], datamap: DataMap) -> list[str]:
    """One sentence for each index and each namespace with vectors that nobody has classified.

    `place["other_indexes"]` (names, comma-separated) says which further indexes of the project are other environments'.
    """
    layout, reader = Layout(datamap.vectors), Reader(place)
    known = {place["index"], *filter(None, place.get("other_indexes", "").split(","))}
    try:
        strangers = [index for index in reader.indexes() if index not in known]
        sentences = [
            f"The Pinecone index {index!r} belongs to no environment; delete it or name it in the environment's "
            "other_indexes."
            for index in strangers
        ]
        for namespace in reader.all_namespaces(place["index"]):
            if not layout.classifies(namespace) and reader.list_page(place["index"], namespace, None)[0]:
                sentences.append(
                    f"The Pinecone namespace {namespace!r} is in no entry of the data map; add it under "
                    "pinecone.namespaces."
                )
    finally:
        reader.close()
    return sentences
