"""Terraform or OpenTofu, driven with -json: a plan that is shown and approved, an apply that goes on without us.

Each move has a folder with its module, state and log, mode 0700; it goes with what it made. An apply runs as a process
of its own (a database takes minutes): the caller looks again until its exit code stands there. A worker that dies leaves
it running; whoever comes next finds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lifecycle.provision.base import Places, Proposal, Standing, Wanted
from lifecycle.systems.base import Permanent, Transient

_SECONDS = 120
_WORDS = {("create",): "create", ("delete",): "destroy", ("update",): "change", ("no-op",): ""}
# The exit code is written last, in one step, so that it is there only once everything else is.
_WRAPPED = (
    '"$0" "$@" > work.jsonl 2>&1; code=$?; rm -f places.json; echo $code > work.new; mv work.new work.code'
)


def program() -> str | None:
    """The path of terraform or tofu, None where neither is installed."""
    return shutil.which("terraform") or shutil.which("tofu")


class Terraform:
    """One module, one folder of states. `binary` is terraform or tofu; `variables` are the module's own further ones."""

    def __init__(
        self, binary: str, module: Path, states: Path, variables: Mapping[str, Any] | None = None
    ) -> None:
        self.binary, self.module, self.states = binary, module, states
        self._variables = dict(variables or {})
        if not any(module.glob("*.tf")):
            raise Permanent(f"There is no Terraform module in {module}. Name one in TERRAFORM_MODULE.")

    def folder(self, wanted: Wanted) -> Path:
        """Where a move's state lies."""
        return self.states / wanted.id

    def propose(self, wanted: Wanted) -> Proposal:
        """Plans in a folder that goes again. Raises Permanent with the tool's own words where the module is wrong."""
        self.states.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self.states, prefix=".plan-") as name:
            return self._plan(Path(name), wanted)

    def make(self, wanted: Wanted, digest: str, secrets: Places) -> Standing:
        """Applies exactly the approved proposal; after a crash in the middle, what is left of it."""
        folder = self.folder(wanted)
        if (made := folder / "made.json").exists():
            return Standing(True, 1, 1, places=json.loads(made.read_text()))
        if self._is_running(folder):
            return self._progress(folder)
        if (code := _code(folder)) is not None:
            if code:
                return self._failed(folder)
            places = self._output(folder)
            _write(made, places)
            return Standing(True, 1, 1, places=places)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._check(folder, wanted, digest)
        self._begin(folder, secrets, "apply", "-input=false", "-json", "-lock-timeout=20s", "plan")
        return Standing(False)

    def destroy(self, wanted: Wanted, secrets: Places) -> Standing:
        """Destroys what the state names, then the folder. One that was never made is destroyed already."""
        folder = self.folder(wanted)
        if not folder.exists():
            return Standing(True)
        if self._is_running(folder):
            return Standing(False)
        if not (folder / "destroying").exists():
            if not (folder / "terraform.tfstate").exists():
                shutil.rmtree(folder)
                return Standing(True)
            self._prepare(folder, wanted)
            (folder / "destroying").touch()
            _forget(folder)
        code = _code(folder)
        if code == 0:
            shutil.rmtree(folder)
            return Standing(True)
        if code is not None:
            return self._failed(folder)
        self._begin(folder, secrets, "destroy", "-input=false", "-json", "-auto-approve", "-lock-timeout=20s")
        return Standing(False)

    def _plan(self, folder: Path, wanted: Wanted) -> Proposal:
        self._prepare(folder, wanted)
        self._run(folder, "plan", "-input=false", "-json", "-out=plan", "-lock-timeout=20s")
        page = json.loads(self._run(folder, "show", "-json", "plan"))
        changes = sorted(
            (_WORDS.get(tuple(each["change"]["actions"]), "replace"), each["address"])
            for each in page.get("resource_changes", [])
        )
        lines = tuple(f"{word} {address}" for word, address in changes if word)
        about = {
            "changes": lines,
            "module": _digest_of(self.module.glob("*.tf")),
            "wanted": [wanted.id, wanted.tenant, wanted.region, wanted.places],
        }
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        return Proposal(Path(self.binary).name, lines, digest)

    def _check(self, folder: Path, wanted: Wanted, digest: str) -> None:
        """The plan in `folder` is the approved one, or a rest of it after a crash."""
        approved = folder / "approved.json"
        now = self._plan(folder, wanted)
        if approved.exists():
            known = json.loads(approved.read_text())
            if known["digest"] == digest and set(now.changes) <= set(known["changes"]):
                return
        elif now.digest == digest:
            _write(approved, now.shown())
            return
        shutil.rmtree(folder) if not approved.exists() else None
        raise Permanent("What Terraform would make is not what was approved. Plan the move again.")

    def _prepare(self, folder: Path, wanted: Wanted) -> None:
        for file in self.module.glob("*.tf"):
            shutil.copy(file, folder / file.name)
        given = {
            "migration": wanted.id,
            "tenant": wanted.tenant,
            "region": wanted.region,
            "places": wanted.places,
            **self._variables,
        }
        _write(folder / "terraform.tfvars.json", given)
        if not (folder / ".terraform").exists() or not (folder / ".terraform" / "ready").exists():
            self._run(folder, "init", "-input=false", "-no-color")
            (folder / ".terraform").mkdir(exist_ok=True)
            (folder / ".terraform" / "ready").touch()

    def _begin(self, folder: Path, secrets: Places, *arguments: str) -> None:
        _forget(folder)
        _write(folder / "places.json", secrets)
        process = subprocess.Popen(
            ["/bin/sh", "-c", _WRAPPED, self.binary, *arguments],
            cwd=folder,
            env=self._environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _write(folder / "work.pid", {"pid": process.pid, "started": _started(process.pid)})

    def _is_running(self, folder: Path) -> bool:
        known = _read(folder / "work.pid")
        if not known or _code(folder) is not None:
            return False
        return known["started"] is not None and _started(known["pid"]) == known["started"]

    def _progress(self, folder: Path) -> Standing:
        events = _events(folder)
        total = next(
            (int(each["changes"]["add"]) for each in events if each.get("type") == "planned_change_summary"),
            0,
        )
        started = sum(each.get("type") == "apply_start" for each in events)
        done = sum(each.get("type") == "apply_complete" for each in events)
        return Standing(False, done, max(total, started))

    def _failed(self, folder: Path) -> Standing:
        said = [str(each.get("@message", "")) for each in _events(folder) if each.get("@level") == "error"]
        _forget(folder)
        return Standing(True, error=f"Terraform failed: {(said or ['it said nothing'])[0][:300]}")

    def _output(self, folder: Path) -> Places:
        page = json.loads(self._run(folder, "output", "-json"))
        if "places" not in page:
            raise Permanent("The Terraform module has no output `places`, so nobody knows where green is.")
        places: Places = page["places"]["value"]
        return places

    def _run(self, folder: Path, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self.binary, *arguments],
                cwd=folder,
                env=self._environment(folder),
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Transient(f"`terraform {arguments[0]}` took longer than {_SECONDS} s.") from None
        if done.returncode:
            raise Permanent(f"`terraform {arguments[0]}` failed: {_last_words(done.stdout, done.stderr)}")
        return done.stdout

    def _environment(self, folder: Path) -> dict[str, str]:
        return {
            **os.environ,
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "PROVISION_PLACES": str(folder / "places.json"),
        }


def local_variables() -> dict[str, str]:
    """What the module `local` needs to call us: interpreter and checkout."""
    return {"python": sys.executable, "checkout": str(Path(__file__).resolve().parents[2])}


def _digest_of(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(file.name.encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()


def _write(path: Path, value: Any) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file)
    fresh.replace(path)


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _code(folder: Path) -> int | None:
    path = folder / "work.code"
    return int(path.read_text()) if path.exists() else None


def _forget(folder: Path) -> None:
    for name in ("work.code", "work.pid", "work.jsonl"):
        (folder / name).unlink(missing_ok=True)


def _events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "work.jsonl"
    return _parsed(path.read_text()) if path.exists() else []


def _parsed(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        try:
            each = json.loads(line)
        except ValueError:
            continue  # a warning before the first event is no JSON; the last line may still be half written
        if isinstance(each, dict):
            found.append(each)
    return found


def _last_words(out: str, err: str) -> str:
    said = [str(each.get("@message", "")) for each in _parsed(out) if each.get("@level") == "error"]
    return (said[0] if said else (err or out).strip()[-300:]).replace("\n", " ")


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: tells it from a later one of the same number. None: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
