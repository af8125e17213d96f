"""Guards that hold whatever the program does: triggers and grants.

They refuse raw SQL and the shell on the models what the actions refuse: a changed audit, an approval by the wrong person
or for another plan, a state that does not follow, an edited certificate, a hold released by one person.
"""

from django.db import migrations

TRANSITIONS = {
    "received": ["validated", "rejected", "cancelled", "blocked_by_hold"],
    "validated": ["awaiting_approval", "blocked_by_hold", "retained", "rejected", "cancelled"],
    "awaiting_approval": ["scheduled", "blocked_by_hold", "retained", "rejected", "cancelled"],
    "scheduled": ["executing", "awaiting_approval", "blocked_by_hold", "cancelled", "failed"],
    "executing": ["verifying", "awaiting_approval", "blocked_by_hold", "cancelled", "failed"],
    "verifying": ["executing", "certifying", "blocked_by_hold", "failed"],
    "certifying": ["completed", "partially_completed", "retained", "executing", "verifying", "blocked_by_hold", "failed"],
    "completed": ["reopened"],
    "partially_completed": ["reopened"],
    "retained": ["awaiting_approval", "blocked_by_hold", "reopened", "rejected", "cancelled"],
    "reopened": ["executing", "blocked_by_hold", "failed"],
    "failed": ["executing", "verifying", "certifying", "blocked_by_hold", "cancelled"],
    "blocked_by_hold": [
        "received", "validated", "awaiting_approval", "scheduled", "executing", "verifying", "certifying", "reopened",
        "failed", "retained", "rejected", "cancelled",
    ],
    "rejected": [],
    "cancelled": [],
}  # fmt: skip

ROWS = ", ".join(f"('{old}', '{new}')" for old, news in TRANSITIONS.items() for new in news)

# A table that only grows. Emptying is let through in one case: the owner of the table, who may drop the trigger anyway,
# in a database that was made for tests.
NEVER = """
CREATE FUNCTION compliance_never() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND current_database() LIKE 'test\\_%' AND EXISTS (
        SELECT FROM pg_class WHERE oid = TG_RELID AND pg_get_userbyid(relowner) = current_user
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% of % is refused: these rows are only ever added.', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
"""

AUDIT = """
CREATE FUNCTION compliance_audit_link() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE last record;
BEGIN
    PERFORM pg_advisory_xact_lock({lock});
    SELECT seq, hash INTO last FROM compliance_auditevent ORDER BY seq DESC LIMIT 1;
    IF NEW.seq <> COALESCE(last.seq, 0) + 1 OR NEW.previous <> COALESCE(last.hash, repeat('0', 64)) THEN
        RAISE EXCEPTION 'An audit event continues the last one: write it with compliance.audit.record.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_link BEFORE INSERT ON compliance_auditevent FOR EACH ROW EXECUTE FUNCTION compliance_audit_link();
CREATE TRIGGER guard_rows BEFORE UPDATE OR DELETE ON compliance_auditevent FOR EACH ROW EXECUTE FUNCTION compliance_never();
CREATE TRIGGER guard_table BEFORE TRUNCATE ON compliance_auditevent FOR EACH STATEMENT EXECUTE FUNCTION compliance_never();

CREATE FUNCTION compliance_guard_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'stored_key' <> to_jsonb(OLD) - 'stored_key' OR (OLD.stored_key <> '' AND NEW.stored_key <> OLD.stored_key) THEN
        RAISE EXCEPTION 'A signed audit head is never edited.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_update BEFORE UPDATE ON compliance_audithead FOR EACH ROW EXECUTE FUNCTION compliance_guard_head();
CREATE TRIGGER guard_rows BEFORE DELETE ON compliance_audithead FOR EACH ROW EXECUTE FUNCTION compliance_never();
CREATE TRIGGER guard_table BEFORE TRUNCATE ON compliance_audithead FOR EACH STATEMENT EXECUTE FUNCTION compliance_never();
""".format(lock=0x6C63_6175_6469_74)

# The digest is computed here and nowhere else, so that no edit of a plan can leave it standing.
REQUEST = f"""
CREATE FUNCTION compliance_may_follow(old text, new text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT EXISTS (SELECT FROM (VALUES {ROWS}) AS t(a, b) WHERE a = old AND b = new)
$$;

CREATE FUNCTION compliance_digest(r compliance_erasurerequest) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN r.plan = '{{}}'::jsonb THEN '' ELSE encode(sha256(convert_to(jsonb_build_object(
        'id', r.id, 'tenant', r.tenant_id, 'kind', r.subject_kind, 'subject', r.subject_pseudonym, 'regime', r.regime,
        'ground', r.ground, 'around_hold', r.around_hold, 'plan', r.plan)::text, 'UTF8')), 'hex') END
$$;

CREATE FUNCTION compliance_missing_approval(r compliance_erasurerequest) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE roles text[]; people integer; needed text[] := CASE r.subject_kind WHEN 'tenant' THEN ARRAY['compliance', 'legal'] ELSE ARRAY['compliance'] END;
BEGIN
    SELECT COALESCE(array_agg(DISTINCT role::text), '{{}}'), count(DISTINCT user_id) INTO roles, people FROM compliance_decision
    WHERE request_id = r.id AND kind = 'approve' AND voided_at IS NULL AND digest = r.digest AND r.digest <> ''
      AND user_id IS DISTINCT FROM r.filed_by_id AND decider_pseudonym <> r.requester_pseudonym;
    IF NOT needed <@ roles OR people < cardinality(needed) THEN
        RETURN 'Standing approvals of the current plan are missing: it needs ' || array_to_string(needed, ' and ') || ', by different people.';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION compliance_guard_request() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE missing text;
BEGIN
    NEW.digest := compliance_digest(NEW);
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'received' OR NEW.closed_at IS NOT NULL THEN
            RAISE EXCEPTION 'A request begins as received.' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.closed_at IS NOT NULL THEN
        RAISE EXCEPTION 'A closed request never changes.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.id, NEW.tenant_id, NEW.subject_kind, NEW.subject_pseudonym, NEW.regime, NEW.requester_pseudonym, NEW.filed_by_id, NEW.received_at, NEW.filed_at, NEW.reason_hash)
        IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.subject_kind, OLD.subject_pseudonym, OLD.regime, OLD.requester_pseudonym, OLD.filed_by_id, OLD.received_at, OLD.filed_at, OLD.reason_hash) THEN
        RAISE EXCEPTION 'Who asked for what and when is never edited.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.closed_at IS NOT NULL AND (NEW.state NOT IN ('completed', 'rejected', 'cancelled') OR NEW.sealed IS NOT NULL) THEN
        RAISE EXCEPTION 'Only an ended request is closed, and nothing sealed stays.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state <> OLD.state THEN
        IF NOT compliance_may_follow(OLD.state, NEW.state) THEN
            RAISE EXCEPTION 'A request that is % can not become %.', OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF NEW.state IN ('scheduled', 'executing', 'verifying', 'certifying') THEN
            missing := compliance_missing_approval(NEW);
            IF missing IS NOT NULL THEN
                RAISE EXCEPTION '%', missing USING ERRCODE = 'integrity_constraint_violation';
            END IF;
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_request BEFORE INSERT OR UPDATE ON compliance_erasurerequest FOR EACH ROW EXECUTE FUNCTION compliance_guard_request();
CREATE TRIGGER guard_rows BEFORE DELETE ON compliance_erasurerequest FOR EACH ROW EXECUTE FUNCTION compliance_never();
CREATE TRIGGER guard_table BEFORE TRUNCATE ON compliance_erasurerequest FOR EACH STATEMENT EXECUTE FUNCTION compliance_never();
"""

DECISION = """
CREATE FUNCTION compliance_in_group(person integer, wanted text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM auth_user u JOIN auth_user_groups m ON m.user_id = u.id JOIN auth_group g ON g.id = m.group_id
                   WHERE u.id = person AND u.is_active AND g.name = wanted)
$$;

CREATE FUNCTION compliance_guard_decision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE r compliance_erasurerequest;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF to_jsonb(NEW) - 'voided_at' - 'sealed_reason' <> to_jsonb(OLD) - 'voided_at' - 'sealed_reason'
            OR (OLD.voided_at IS NOT NULL AND NEW.voided_at IS DISTINCT FROM OLD.voided_at)
            OR (NEW.sealed_reason IS NOT NULL AND NEW.sealed_reason IS DISTINCT FROM OLD.sealed_reason) THEN
            RAISE EXCEPTION 'A decision is never edited; it can be voided.' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    SELECT * INTO r FROM compliance_erasurerequest WHERE id = NEW.request_id;
    IF NEW.kind <> 'cancel' AND NOT compliance_in_group(NEW.user_id, CASE NEW.role WHEN 'legal' THEN 'legal' ELSE 'compliance officer' END) THEN
        RAISE EXCEPTION 'The person does not have the role in which they decide.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.kind IN ('around_hold', 'delay') AND NEW.role <> 'legal' THEN
        RAISE EXCEPTION 'This is for legal to decide.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.kind = 'approve' THEN
        IF NEW.user_id IS NOT DISTINCT FROM r.filed_by_id OR NEW.decider_pseudonym IN ('', r.requester_pseudonym) THEN
            RAISE EXCEPTION 'Nobody approves a request that they filed or made.' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF r.state <> 'awaiting_approval' OR NEW.voided_at IS NOT NULL OR r.digest = '' OR NEW.digest <> r.digest THEN
            RAISE EXCEPTION 'An approval is of the plan as it stands, while it awaits approval.' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_decision BEFORE INSERT OR UPDATE ON compliance_decision FOR EACH ROW EXECUTE FUNCTION compliance_guard_decision();
CREATE TRIGGER guard_rows BEFORE DELETE ON compliance_decision FOR EACH ROW EXECUTE FUNCTION compliance_never();
CREATE TRIGGER guard_table BEFORE TRUNCATE ON compliance_decision FOR EACH STATEMENT EXECUTE FUNCTION compliance_never();
"""

CERTIFICATE = """
CREATE FUNCTION compliance_guard_certificate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY['stored_at', 'locked_until', 'delivered_at'];
BEGIN
    IF to_jsonb(NEW) - free <> to_jsonb(OLD) - free
        OR (OLD.stored_at IS NOT NULL AND NEW.stored_at IS DISTINCT FROM OLD.stored_at)
        OR (OLD.locked_until IS NOT NULL AND NEW.locked_until IS DISTINCT FROM OLD.locked_until)
        OR (OLD.delivered_at IS NOT NULL AND NEW.delivered_at IS DISTINCT FROM OLD.delivered_at) THEN
        RAISE EXCEPTION 'A certificate is never edited; a wrong one is corrected by another.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_update BEFORE UPDATE ON compliance_certificate FOR EACH ROW EXECUTE FUNCTION compliance_guard_certificate();
CREATE TRIGGER guard_rows BEFORE DELETE ON compliance_certificate FOR EACH ROW EXECUTE FUNCTION compliance_never();
CREATE TRIGGER guard_table BEFORE TRUNCATE ON compliance_certificate FOR EACH STATEMENT EXECUTE FUNCTION compliance_never();
"""

HOLD = """
CREATE FUNCTION compliance_guard_hold() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE blocking text[] := ARRAY['active', 'preserving', 'release_requested'];
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NOT NEW.state = ANY(ARRAY['active', 'preserving']) OR NEW.release_requested_by_id IS NOT NULL OR NEW.released_by_id IS NOT NULL THEN
            RAISE EXCEPTION 'A hold begins in force.' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.id, NEW.tenant_id, NEW.subject_pseudonym, NEW.category, NEW.type, NEW.placed_by_id, NEW.placed_at)
        IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.subject_pseudonym, OLD.category, OLD.type, OLD.placed_by_id, OLD.placed_at)
        OR (NEW.until IS NOT NULL AND (OLD.until IS NULL OR NEW.until < OLD.until)) THEN
        RAISE EXCEPTION 'The scope of a hold is never narrowed; release it instead.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT OLD.state = ANY(blocking) AND NEW.state <> OLD.state THEN
        RAISE EXCEPTION 'A hold that ended does not change; place another.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.state = 'release_requested' AND NEW.state IN ('release_requested', 'released')
        AND NEW.release_requested_by_id IS DISTINCT FROM OLD.release_requested_by_id THEN
        RAISE EXCEPTION 'Who asked for the release is never edited.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state = 'release_requested' AND OLD.state <> NEW.state AND NOT compliance_in_group(NEW.release_requested_by_id, 'legal') THEN
        RAISE EXCEPTION 'The release of a hold is asked for by legal.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state = 'released' AND OLD.state <> NEW.state AND (OLD.state <> 'release_requested'
        OR OLD.release_requested_by_id IS NULL OR NEW.released_by_id = OLD.release_requested_by_id OR NOT compliance_in_group(NEW.released_by_id, 'legal')) THEN
        RAISE EXCEPTION 'A hold is released by a second person of legal, after the first asked for it.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state = 'expired' AND OLD.state <> NEW.state AND (OLD.until IS NULL OR OLD.until > clock_timestamp()) THEN
        RAISE EXCEPTION 'The hold has not reached its last day.' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_hold BEFORE INSERT OR UPDATE ON compliance_legalhold FOR EACH ROW EXECUTE FUNCTION compliance_guard_hold();
CREATE TRIGGER guard_rows BEFORE DELETE ON compliance_legalhold FOR EACH ROW EXECUTE FUNCTION compliance_never();
CREATE TRIGGER guard_table BEFORE TRUNCATE ON compliance_legalhold FOR EACH STATEMENT EXECUTE FUNCTION compliance_never();
ALTER TABLE compliance_fencebatch ADD CONSTRAINT a_batch_is_short CHECK (deadline <= opened_at + interval '5 seconds');
"""

# Besides the triggers: what the application's role is not granted, it can't do where a trigger is missing or disabled.
GRANTS = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'lifecycle_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON compliance_auditevent FROM lifecycle_app;
        REVOKE DELETE, TRUNCATE ON compliance_audithead, compliance_erasurerequest, compliance_decision, compliance_certificate, compliance_legalhold FROM lifecycle_app;
    END IF;
END $$;
"""

TABLES = {
    "compliance_auditevent": ["guard_link", "guard_rows", "guard_table"],
    "compliance_audithead": ["guard_update", "guard_rows", "guard_table"],
    "compliance_erasurerequest": ["guard_request", "guard_rows", "guard_table"],
    "compliance_decision": ["guard_decision", "guard_rows", "guard_table"],
    "compliance_certificate": ["guard_update", "guard_rows", "guard_table"],
    "compliance_legalhold": ["guard_hold", "guard_rows", "guard_table"],
}
BACK = (
    "".join(f"DROP TRIGGER {name} ON {table};\n" for table, names in TABLES.items() for name in names)
    + """
ALTER TABLE compliance_fencebatch DROP CONSTRAINT a_batch_is_short;
DROP FUNCTION compliance_guard_hold(); DROP FUNCTION compliance_guard_certificate(); DROP FUNCTION compliance_guard_decision();
DROP FUNCTION compliance_in_group(integer, text); DROP FUNCTION compliance_guard_request();
DROP FUNCTION compliance_missing_approval(compliance_erasurerequest); DROP FUNCTION compliance_digest(compliance_erasurerequest);
DROP FUNCTION compliance_may_follow(text, text); DROP FUNCTION compliance_guard_head(); DROP FUNCTION compliance_audit_link();
DROP FUNCTION compliance_never();
"""
)


class Migration(migrations.Migration):
    dependencies = [("compliance", "0004_decision_decider"), ("auth", "0012_alter_user_first_name_max_length")]

    operations = [migrations.RunSQL(NEVER + AUDIT + REQUEST + DECISION + CERTIFICATE + HOLD + GRANTS, BACK)]
