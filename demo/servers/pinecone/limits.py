"""What Pinecone refuses, with its error shapes: limits of the OpenAPI file (data plane 2026-04) and the docs."""

from __future__ import annotations

import array
import re
from typing import Any

import orjson

from demo.servers.pinecone.records import Record
from demo.servers.web import Response, json_response

MAX_UPSERT_VECTORS = 1_000
MAX_UPSERT_BYTES = 2 * 1024 * 1024
MAX_DELETE_IDS = 1_000
MAX_FETCH_IDS = 1_000
MAX_ID_CHARS = 512
MAX_TOP_K = 10_000
MAX_DIMENSION = 20_000
MAX_SPARSE = 1_000
MAX_METADATA_BYTES = 40 * 1024
MAX_PAGE = 100
MAX_METADATA_PAGE = 10_000
INDEX_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")

_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 501: 12, 502: 14, 503: 14, 504: 4}
_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "UNKNOWN",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class ApiError(Exception):
    """A refusal: HTTP status and the sentence that the client gets. Never quotes an id or a value."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self, *, control: bool) -> Response:
        """The error in the shape of the control plane or of the data plane."""
        headers = {"Retry-After": "1"} if self.status == 429 else {}
        if control:
            error = {"code": _NAMES.get(self.status, "UNKNOWN"), "message": self.message}
            return json_response({"status": self.status, "error": error}, self.status, headers)
        body = {"code": _GRPC.get(self.status, 2), "message": self.message, "details": []}
        return json_response(body, self.status, headers)


def parse_object(body: bytes) -> dict[str, Any]:
    """The request's JSON object; an empty body counts as {}."""
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "The request body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    return value


def is_plain(value: str) -> bool:
    """ASCII without NUL, as Pinecone wants ids and namespaces (its SDK refuses anything else before sending)."""
    return value.isascii() and "\x00" not in value


def check_id(value: Any) -> str:
    """A record id of 1 to 512 ASCII characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID_CHARS or not is_plain(value):
        raise ApiError(400, f"A vector id must be a string of 1 to {MAX_ID_CHARS} ASCII characters.")
    return value


def check_ids(value: Any, limit: int) -> list[str]:
    """A list of 1 to `limit` ids."""
    if not isinstance(value, list) or not value:
        raise ApiError(400, "ids must be a list with at least one id.")
    if len(value) > limit:
        raise ApiError(400, f"The number of ids exceeds the limit of {limit} in one request.")
    return [check_id(item) for item in value]


def check_number(value: Any, name: str, low: int, high: int) -> int:
    """An integer between `low` and `high`; a string of digits is accepted, as in a query string."""
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ApiError(400, f"{name} must be a number between {low} and {high}.")
    return value


def check_values(value: Any, dimension: int) -> list[float]:
    """Dense values of the index's dimension, rounded to float32 as Pinecone stores them."""
    if not isinstance(value, list):
        raise ApiError(400, "values must be a list of numbers.")
    if len(value) != dimension:
        raise ApiError(
            400, f"Vector dimension {len(value)} does not match the dimension of the index {dimension}"
        )
    return float32(value)


def float32(value: list[Any]) -> list[float]:
    """Round to float32 and give back the shortest decimals that name those float32 values."""
    try:
        single = array.array("f", value)
    except (TypeError, OverflowError) as error:
        raise ApiError(400, "values must be a list of numbers within the range of float32.") from error
    short = [float(f"{number:.7g}") for number in single]
    again = array.array("f", short)
    return [short[i] if again[i] == number else float(f"{number:.9g}") for i, number in enumerate(single)]


def check_sparse(value: Any) -> dict[str, Any] | None:
    """Sparse values: up to 1,000 distinct indices with as many numbers."""
    if value is None:
        return None
    indices = value.get("indices") if isinstance(value, dict) else None
    values = value.get("values") if isinstance(value, dict) else None
    if not isinstance(indices, list) or not isinstance(values, list) or len(indices) != len(values):
        raise ApiError(400, "sparseValues must have indices and values of the same length.")
    if not 1 <= len(indices) <= MAX_SPARSE:
        raise ApiError(400, f"sparseValues must have between 1 and {MAX_SPARSE} entries.")
    if any(isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < 2**32 for i in indices):
        raise ApiError(400, "sparseValues indices must be unsigned 32-bit integers.")
    if len(set(indices)) != len(indices):
        raise ApiError(400, "sparseValues indices must be distinct.")
    return {"indices": indices, "values": float32(values)}


def check_metadata(value: Any) -> dict[str, Any] | None:
    """Flat metadata: strings, numbers, booleans, lists of strings; at most 40 KB; no null, no nesting."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ApiError(400, "metadata must be an object.")
    for item in value.values():
        if isinstance(item, str | int | float | bool):
            continue
        if isinstance(item, list) and all(isinstance(part, str) for part in item):
            continue
        raise ApiError(400, "Metadata value must be a string, number, boolean or list of strings.")
    if len(orjson.dumps(value)) > MAX_METADATA_BYTES:
        raise ApiError(400, f"The metadata of a record exceeds the limit of {MAX_METADATA_BYTES} bytes.")
    return value


def check_vectors(value: Any, dimension: int) -> dict[str, Record]:
    """The vectors of an upsert by id; of an id given twice the last one counts."""
    if not isinstance(value, list) or not value:
        raise ApiError(400, "vectors must be a list with at least one vector.")
    if len(value) > MAX_UPSERT_VECTORS:
        raise ApiError(
            400, f"The number of vectors exceeds the limit of {MAX_UPSERT_VECTORS} in one request."
        )
    records: dict[str, Record] = {}
    for item in value:
        if not isinstance(item, dict):
            raise ApiError(400, "Each vector must be an object.")
        values = check_values(item.get("values"), dimension)
        if not any(values) and not item.get("sparseValues"):
            raise ApiError(400, "Dense vectors must contain at least one non-zero value.")
        records[check_id(item.get("id"))] = Record(
            values, check_sparse(item.get("sparseValues")), check_metadata(item.get("metadata"))
        )
    return records
