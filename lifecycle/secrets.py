"""Secret references: rows say where a secret is, never what it is.

`env:NAME`, `file:PATH` or `file:PATH#/json/pointer` (a relative path is under the run folder), `aws-sm:ARN`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from config.environment import run_dir
from lifecycle.systems.base import Permanent


def resolve(reference: str) -> str:
    """The secret behind `reference`; text without a known scheme is returned as it is (a plain setting).

    Raises Permanent with a sentence that names the reference, never a value.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        if rest not in os.environ:
            raise Permanent(
                f"The secret reference {reference} names an environment variable that is not set."
            )
        return os.environ[rest]
    if scheme == "file":
        return _from_file(rest)
    if scheme == "aws-sm":
        import boto3  # slow to load, and the watchdog must be back within a lease

        answer = boto3.client("secretsmanager").get_secret_value(SecretId=rest)
        return str(answer["SecretString"])
    return reference


def _from_file(rest: str) -> str:
    name, _, pointer = rest.partition("#")
    path = Path(name) if Path(name).is_absolute() else run_dir() / name
    try:
        text = path.read_text()
    except OSError as failure:
        raise Permanent(f"The secret file {name} can't be read ({failure.strerror}).") from None
    if not pointer:
        return text.strip()
    value: Any = json.loads(text)
    for part in pointer.strip("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or key not in value:
            raise Permanent(f"The secret file {name} has nothing under {pointer}.")
        value = value[key]
    return str(value)
