"""A command answers at once: what only some of them need is loaded by those."""

import subprocess
import sys

from demo.stack.place import CHECKOUT

LOADED = (
    "import sys, django; django.setup();"
    "print(sorted({'apprise', 'boto3', 'httpx', 'pinecone', 'weasyprint'} & set(sys.modules)))"
)


def test_clients_of_other_services_are_not_loaded_with_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
