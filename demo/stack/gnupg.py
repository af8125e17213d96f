"""The local signing key: one Ed25519 key in a GnuPG folder of the stack's own."""

import hashlib
import subprocess
import tempfile
from pathlib import Path

from demo.stack.place import Place

OWNER = "Lifecycle local stack <signing@lifecycle.invalid>"
# gpg-agent makes sockets in the folder, the longest called S.gpg-agent.browser; a socket's path has
# at most 107 bytes.
LONGEST_FOLDER = 80


def home(place: Place) -> Path:
    """Return the GnuPG folder: inside the stack's, or in the temporary folder if that path is too long."""
    inside = place.root / "gnupg"
    if len(str(inside)) <= LONGEST_FOLDER:
        return inside
    short = hashlib.sha256(str(place.root).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lifecycle-gnupg-{short}"


def _gpg(place: Place, *arguments: str) -> str:
    command = ["gpg", "--homedir", str(home(place)), "--batch", "--no-tty", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"gpg {arguments[-1]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def signing_fingerprint(place: Place) -> str:
    """Return the fingerprint (40 hex digits) of the stack's signing key, making the key the first time."""
    folder = home(place)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    found = _fingerprint(place)
    if not found:
        _gpg(place, "--passphrase", "", "--quick-generate-key", OWNER, "ed25519", "sign", "never")
        found = _fingerprint(place)
    return found


def _fingerprint(place: Place) -> str:
    lines = _gpg(place, "--with-colons", "--list-secret-keys").splitlines()
    return next((line.split(":")[9] for line in lines if line.startswith("fpr:")), "")


def end_agent(place: Place) -> None:
    """End the key agent that GnuPG left running for this folder."""
    if home(place).exists():
        command = ["gpgconf", "--homedir", str(home(place)), "--kill", "all"]
        subprocess.run(command, capture_output=True, check=False)
