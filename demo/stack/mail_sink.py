"""SMTP server that keeps each mail as one .eml file in a folder and sends nothing on.

`python -m demo.stack.mail_sink --port P --folder DIR`
"""

import argparse
import asyncio
import time
import uuid
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session


class Sink:
    """Writes each accepted mail to `folder`; a file is complete as soon as its name ends in .eml."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep the mail of `envelope`; the answer tells the sender that it is accepted."""
        name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
        unfinished = self._folder / f"{name}.part"
        content = envelope.original_content or b""
        recipients = "".join(f"X-Envelope-To: {recipient}\r\n" for recipient in envelope.rcpt_tos)
        unfinished.write_bytes(recipients.encode() + content)
        unfinished.rename(self._folder / f"{name}.eml")
        return "250 Message accepted for delivery"


async def serve(port: int, folder: Path) -> None:
    """Answer SMTP on `port` of 127.0.0.1 until the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    sink = Sink(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(sink, hostname="localhost", enable_SMTPUTF8=True, data_size_limit=64 << 20),
        "127.0.0.1",
        port,
    )
    await server.serve_forever()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.folder))


if __name__ == "__main__":
    main()
