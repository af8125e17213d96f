"""Errors as JSON: {"error": sentence, "reasons": [sentences]}. Never a value that somebody sent."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from compliance.errors import Refused
from compliance.fence import FenceTimeout


def handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Refused: 409. A hold that is not certain yet: 503. Invalid input: 400 with a sentence per field. Unknown: 404. Others as the framework has them."""
    if isinstance(error, Refused):
        return _answer(status.HTTP_409_CONFLICT, "It is refused.", error.reasons)
    if isinstance(error, FenceTimeout):
        return _answer(status.HTTP_503_SERVICE_UNAVAILABLE, "It is not certain yet.", [str(error)])
    if isinstance(error, ObjectDoesNotExist):
        return _answer(status.HTTP_404_NOT_FOUND, "There is nothing of this id in the token's tenant.", [])
    if isinstance(error, ValidationError):
        return _answer(status.HTTP_400_BAD_REQUEST, "The request is not valid.", _sentences(error.detail))
    response = exception_handler(error, context)
    if response is not None and isinstance(error, APIException):
        response.data = {"error": str(error.detail), "reasons": []}
    return response


def _answer(code: int, error: str, reasons: list[str]) -> Response:
    return Response({"error": error, "reasons": reasons}, status=code)


def _sentences(detail: Any, where: str = "") -> list[str]:
    if isinstance(detail, dict):
        return [each for name, inner in detail.items() for each in _sentences(inner, str(name))]
    if isinstance(detail, list):
        return [each for inner in detail for each in _sentences(inner, where)]
    # A choice that is not known would be quoted back; the code says as much.
    text = (
        "This is not one of the known values."
        if getattr(detail, "code", "") == "invalid_choice"
        else str(detail)
    )
    return [f"{where}: {text}" if where else text]
