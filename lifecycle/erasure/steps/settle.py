"""Before certifying: mentions decided and carried out, recipients settled, nothing unexplained, nothing unclassified,
nothing moved since."""

from __future__ import annotations

from compliance.actions import mentions
from compliance.actors import SYSTEM
from compliance.models import Mention, Recipient
from compliance.sealing import unseal_json
from lifecycle import places
from lifecycle.engine import runs
from lifecycle.engine.outcomes import Blocked, Done, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.erasure import cases, drifting, fencing, trail
from lifecycle.erasure.cases import CaseFile
from lifecycle.models import BystanderGroup, Environment
from lifecycle.systems.base import Item, Permanent, Transient


def run(context: Context) -> Outcome:
    """Blocked with every reason that a person must settle; done when there is none."""
    file = cases.read(context.run)
    if reasons := waiting_for(file):
        return Blocked(" ".join(reasons))
    for mention in file.request.mentions.filter(choice__in=[Mention.Choice.ERASE, Mention.Choice.REDACT]):
        try:
            carry_out(file, mention)
        except fencing.Held as held:
            return Blocked(str(held))
        context.heartbeat()
    if unknown := drifting.sentences(file.request.tenant_id, file.scope, file.datamap):
        trail.note(file.request, "erasure.unclassified", places=unknown)
        return Blocked(
            f"{len(unknown)} unclassified places came while this ran, so nothing is certified. Classify or remove them "
            f"and resume the run: {' '.join(unknown)}"
        )
    stale = [
        line.system
        for line in file.case.lines.all()
        if line.detail.get("anchors") != file.case.anchors_digest
    ]
    if stale:
        for system in sorted(set(stale)):
            runs.rerun(context.run, name="verify", lane=system)
        raise Transient(
            f"What the subject's rows lead to changed after {', '.join(sorted(set(stale)))} was verified: it is verified again."
        )
    return Done()


def waiting_for(file: CaseFile) -> list[str]:
    """Sentences that name what blocks the certificate; [] when nothing does."""
    reasons = []
    if count := file.request.mentions.filter(choice=Mention.Choice.OPEN).count():
        reasons.append(
            f"{count} mentions of the person in other people's data wait for an officer's decision."
        )
    pending = file.request.recipients.filter(state=Recipient.State.PENDING).values_list("name", flat=True)
    if pending:
        reasons.append(f"Recipients still to be settled: {', '.join(pending)}.")
    lost = BystanderGroup.objects.filter(line__case=file.case, verdict=BystanderGroup.Verdict.UNEXPLAINED)
    for group in lost.select_related("line"):
        reasons.append(
            f"{group.lost} items of somebody else are gone from {group.line.system} and nothing explains it."
        )
    return reasons


def carry_out(file: CaseFile, mention: Mention) -> None:
    """Erases or redacts one mention as the officer decided, under the fence, and closes it."""
    what = unseal_json(file.key, bytes(mention.sealed or b""), f"mention/{file.request.pk}")
    item = Item(what["kind"], what["key"])
    environment = Environment.objects.get(pk=mention.environment)
    with places.eraser(environment, mention.system, file.datamap) as eraser:
        if mention.choice == Mention.Choice.ERASE:
            done = fencing.destroy(file, mention.system, lambda gate: eraser.erase(file.scope, [item], gate))
        else:
            redact = getattr(eraser, "redact", None)
            if redact is None:
                raise Permanent(
                    f"{mention.system} can't redact. Decide `erase` or `not this person` for the mention."
                )
            done = fencing.destroy(file, mention.system, lambda gate: redact(file.scope, item, gate))
    if done is None:
        raise Transient(f"{mention.system} did not answer in time while a mention was carried out.")
    if mention.choice == Mention.Choice.ERASE:
        _require_gone(file, environment, mention.system, item)
    mentions.done(mention, actor=SYSTEM)


def _require_gone(file: CaseFile, environment: Environment, system: str, item: Item) -> None:
    """A mention that was erased is looked for again with the verifier's eyes, like everything else that is certified."""
    with places.verifier(environment, system, file.datamap) as verifier:
        if verifier.remaining(file.scope, [item]):
            raise Transient(f"A mention in {system} that was to be erased is still readable.")
