"""Settings for the type checker and migration checks: no stack needed."""

import os
import tempfile

_FILLED = {
    "SECRET_KEY": "type-checks-only",
    "DATABASE_URL": "postgres://x:x@127.0.0.1:1/x",
    "KEYSTORE_DIR": tempfile.gettempdir(),
    "GNUPG_HOME": tempfile.gettempdir(),
    "SIGNING_FINGERPRINT": "0" * 40,
    **{
        f"{store}_{name}": "x"
        for store in ("CERTIFICATES", "BACKUPS")
        for name in ("ENDPOINT", "BUCKET", "KEY", "SECRET")
    },
}
for _name, _value in _FILLED.items():
    os.environ.setdefault(_name, _value)

from config.settings import *  # noqa: E402, F403
