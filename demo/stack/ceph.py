"""`python -m demo.stack.ceph up|down DIR`: a second real S3 server, Ceph's RADOS Gateway, for a long trial.

One monitor, one OSD that keeps its data in memory, one gateway, all on free ports of loopback and with all
their files in DIR. `up` writes DIR/place.json in the form that `TRIAL_S3_PLACE` names, and prints its path.
Nothing outlives `down`. The programs come from Debian: `bin/debian-parts ceph`.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from demo.stack.control import StackError
from demo.stack.place import Secrets, read_json, write_private
from demo.stack.ports import Ports
from demo.stack.process import Identity, end, identify, is_alive

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
BUCKET = "trial"
READY_WITHIN = 120.0  # seconds, each step; on an idle machine all of `up` takes about 20
ENDS_WITHIN = 10.0
# Whoever may do what. The gateway refuses to start where authentication is switched off.
RIGHTS = {
    "mon.": ("mon", "allow *"),
    "client.admin": ("mon", "allow *", "osd", "allow *"),
    "client.gateway": ("mon", "allow rw", "osd", "allow rwx"),
    "osd.0": ("mon", "allow profile osd", "osd", "allow *"),
}


@dataclass(frozen=True)
class Cluster:
    """One Ceph in the folder `root`: `made` holds all but the logs, the place and the list of processes."""

    root: Path
    ports: Ports
    secrets: Secrets

    @classmethod
    def at(cls, root: Path) -> "Cluster":
        """Open (and make) the folder `root`; only its owner may look inside."""
        root = root.resolve()
        for folder in (root, root / "log", root / "ceph"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(root, Ports(root / "ceph" / "ports.json"), Secrets(root / "ceph" / "secrets.json"))

    @property
    def made(self) -> Path:
        """The folder that `down` removes."""
        return self.root / "ceph"

    def say(self, program: str, *arguments: str) -> str:
        """Run one of Ceph's tools to its end; return what it printed. Raises StackError with its last words."""
        try:
            done = subprocess.run(
                (program, *arguments), cwd=self.made, capture_output=True, text=True, timeout=READY_WITHIN
            )
        except subprocess.TimeoutExpired:
            raise StackError(
                f"{program} did not end within {READY_WITHIN:.0f} s; look into {self.root}/log."
            ) from None
        if done.returncode != 0:
            raise StackError(f"{program} ended with code {done.returncode}: {done.stderr.strip()[-600:]}")
        return done.stdout

    def conf(self, name: str) -> tuple[str, ...]:
        """The arguments that tell a program of Ceph who it is and which cluster is meant."""
        return ("-c", str(self.made / "ceph.conf"), "-n", name)

    def start(self, program: str, name: str) -> Identity:
        """Start a server that outlives this process, and note it, so that `down` finds it."""
        log = self.root / "log" / f"{program}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                (program, "-f", *self.conf(name)),
                cwd=self.made,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        found = identify(process.pid)
        if found is None:
            raise StackError(f"{program} ended at once; see {log}.")
        noted = read_json(self.root / "processes.json") | {program: [found.pid, found.started]}
        write_private(self.root / "processes.json", noted)
        return found

    def running(self) -> list[Identity]:
        """The servers of this folder that still run, the last one started first."""
        noted = [Identity(*each) for each in read_json(self.root / "processes.json").values()]
        return [each for each in reversed(noted) if is_alive(each)]


def up(root: Path) -> Path:
    """Start Ceph in `root` and return the path of its place.json.

    Raises StackError when a program is missing, when one runs there already, or when a server does not
    become ready; then nothing is left running.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise StackError(
            f"Ceph's programs {', '.join(missing)} are missing: as root, run `bin/debian-parts ceph`."
        )
    cluster = Cluster.at(root)
    if cluster.running():
        raise StackError(
            f"A Ceph runs in {cluster.root} already; end it with `python -m demo.stack.ceph down`."
        )
    down(root)  # what a machine that went off left there
    cluster = Cluster.at(root)
    try:
        _make(cluster)
        _serve(cluster)
        place = _place(cluster)
        _wait(cluster, lambda: _has_bucket(place), "take a bucket")
    except BaseException:
        down(root)
        raise
    write_private(cluster.root / "place.json", place)
    return cluster.root / "place.json"


def down(root: Path) -> bool:
    """End every server that was started in `root` and remove their data, not their logs; False if none ran."""
    if not (root / "ceph" / "ports.json").exists():
        return False
    cluster = Cluster.at(root)
    running = cluster.running()
    for each in running:
        end(each, signal.SIGTERM, ENDS_WITHIN)
    for name in ("place.json", "processes.json"):
        (cluster.root / name).unlink(missing_ok=True)
    shutil.rmtree(cluster.made)
    return bool(running)


def _make(cluster: Cluster) -> None:
    """Write the configuration and the keys, and format the monitor."""
    identity, monitor = str(uuid.uuid4()), f"[v2:127.0.0.1:{cluster.ports.get('monitor')}]"
    (cluster.made / "ceph.conf").write_text(_configuration(cluster, identity, monitor))
    ring = cluster.made / "all.keyring"
    ring.touch(mode=0o600)
    for name, rights in RIGHTS.items():
        words = [word for kind in range(0, len(rights), 2) for word in ("--cap", *rights[kind : kind + 2])]
        cluster.say("ceph-authtool", str(ring), "--gen-key", "-n", name, *words)
    for folder in ("mon", "osd", "rgw"):
        (cluster.made / folder).mkdir()
    monitors = str(cluster.made / "monitors")
    cluster.say("monmaptool", "--create", "--fsid", identity, "--addv", "a", monitor, monitors)
    cluster.say("ceph-mon", "--mkfs", *cluster.conf("mon.a"), "--monmap", monitors, "--keyring", str(ring))


def _configuration(cluster: Cluster, identity: str, monitor: str) -> str:
    made = cluster.made
    lines = {
        "fsid": identity,
        "mon host": monitor,
        "public addr": "127.0.0.1",
        "cluster addr": "127.0.0.1",
        "ms bind msgr1": "false",
        "keyring": f"{made}/all.keyring",
        "mon data": f"{made}/mon",
        "osd data": f"{made}/osd",
        "rgw data": f"{made}/rgw",
        "osd objectstore": "memstore",
        # Sockets and logs of the system's own place are another cluster's.
        "run dir": str(made),
        "crash dir": str(made),
        "admin socket": "",
        "log to file": "false",
        "log to stderr": "true",
        "mon cluster log to file": "false",
        # One OSD, one copy, and no manager that would look after the number of placement groups.
        "osd pool default size": "1",
        "osd pool default min size": "1",
        "osd pool default pg num": "8",
        "osd pool default pg autoscale mode": "off",
        "osd crush chooseleaf type": "0",
        "mon allow pool size one": "true",
        "mon max pg per osd": "1000",
        "rgw frontends": f"beast endpoint=127.0.0.1:{cluster.ports.get('gateway')}",
    }
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())


def _serve(cluster: Cluster) -> None:
    """Start the servers in their order, and make the two key pairs."""
    cluster.start("ceph-mon", "mon.a")
    own = str(uuid.uuid4())
    cluster.say("ceph", *cluster.conf("client.admin"), "--connect-timeout", "60", "osd", "new", own)
    cluster.say("ceph-osd", "--mkfs", *cluster.conf("osd.0"), "--osd-uuid", own)
    cluster.start("ceph-osd", "osd.0")
    cluster.start("radosgw", "client.gateway")
    place = _place(cluster)
    tell = ("radosgw-admin", *cluster.conf("client.admin"))
    cluster.say(
        *(*tell, "user", "create", "--uid", "admin", "--display-name", "Administrator"),
        *("--access-key", place["key"], "--secret-key", place["secret"]),
    )
    # A subuser, not a user: it must read whatever bucket the administrator makes, without a policy on each.
    cluster.say(*tell, "subuser", "create", "--uid", "admin", "--subuser", "reader", "--access", "read")
    cluster.say(
        *(*tell, "key", "create", "--uid", "admin", "--subuser", "reader", "--key-type", "s3"),
        *("--access-key", place["reader_key"], "--secret-key", place["reader_secret"]),
    )


def _place(cluster: Cluster) -> dict[str, str]:
    return {
        "endpoint": f"http://127.0.0.1:{cluster.ports.get('gateway')}",
        "bucket": BUCKET,
        "key": "admin-ceph",
        "secret": cluster.secrets.get("admin"),
        "reader_key": "reader-ceph",
        "reader_secret": cluster.secrets.get("reader"),
    }


def _wait(cluster: Cluster, ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not ready():
        if len(cluster.running()) < 3:
            raise StackError(f"One of Ceph's servers ended before it was ready; see {cluster.root}/log.")
        if time.monotonic() > deadline:
            raise StackError(f"Ceph did not {what} within {READY_WITHIN:.0f} s; see {cluster.root}/log.")
        time.sleep(0.1)


def _has_bucket(place: dict[str, str]) -> bool:
    """Make the versioned bucket; False while the gateway isn't up to it."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=place["endpoint"],
        aws_access_key_id=place["key"],
        aws_secret_access_key=place["secret"],
        region_name="us-east-1",
        config=Config(connect_timeout=1, read_timeout=20, retries={"total_max_attempts": 1}),
    )
    try:
        client.create_bucket(Bucket=place["bucket"])
        client.put_bucket_versioning(Bucket=place["bucket"], VersioningConfiguration={"Status": "Enabled"})
        client.put_object(Bucket=place["bucket"], Key="probe", Body=b"ready")
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True


def main() -> int:
    """Carry out the command line; 1 with a sentence on standard error when it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m demo.stack.ceph", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        if arguments.command == "up":
            print(up(arguments.folder))
        else:
            print("Ceph is down." if down(arguments.folder) else "No Ceph was running.")
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
