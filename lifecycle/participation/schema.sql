-- What a platform keeps in each region's database to take part in moves. Installed by lifecycle.participation.install.
CREATE SCHEMA IF NOT EXISTS lifecycle;

-- Which region this database is.
CREATE TABLE IF NOT EXISTS lifecycle.here (
    region text NOT NULL,
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);

CREATE OR REPLACE FUNCTION lifecycle.region() RETURNS text
LANGUAGE sql STABLE AS 'SELECT region FROM lifecycle.here';

-- Who owns a tenant's writes, as this database knows it. No row: the tenant never moved, writes are accepted.
CREATE TABLE IF NOT EXISTS lifecycle.route (
    tenant_id text PRIMARY KEY,
    owner text NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT 'infinity',
    soak text NOT NULL DEFAULT 'fast' CHECK (soak IN ('fast', 'safe')),
    other text NOT NULL DEFAULT '',
    slot text NOT NULL DEFAULT '',
    moving boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

CREATE SEQUENCE IF NOT EXISTS lifecycle.change_seq;
CREATE SEQUENCE IF NOT EXISTS lifecycle.change_version;

-- The outbox: what the application wrote to stores other than this database.
CREATE TABLE IF NOT EXISTS lifecycle.change (
    origin text NOT NULL DEFAULT lifecycle.region(),
    seq bigint NOT NULL DEFAULT nextval('lifecycle.change_seq'),
    tenant_id text NOT NULL,
    user_id text NOT NULL DEFAULT '',
    store text NOT NULL CHECK (store IN ('s3', 'pinecone')),
    key text NOT NULL,
    op text NOT NULL CHECK (op IN ('put', 'delete')),
    version bigint NOT NULL DEFAULT nextval('lifecycle.change_version'),
    sha256 text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, origin, seq)
);
CREATE INDEX IF NOT EXISTS change_key ON lifecycle.change (tenant_id, store, key, version DESC);
CREATE INDEX IF NOT EXISTS change_user ON lifecycle.change (tenant_id, user_id);

-- What this region's stores hold of it. Rows of op 'delete' are tombstones.
CREATE TABLE IF NOT EXISTS lifecycle.applied (
    tenant_id text NOT NULL,
    user_id text NOT NULL DEFAULT '',
    store text NOT NULL,
    key text NOT NULL,
    version bigint NOT NULL,
    op text NOT NULL,
    sha256 text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, store, key)
);

-- An older installation's table has no such column yet.
ALTER TABLE lifecycle.applied ADD COLUMN IF NOT EXISTS user_id text NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS applied_user ON lifecycle.applied (tenant_id, user_id);

-- A key names its user: what was applied of a person goes with that person.
CREATE OR REPLACE FUNCTION lifecycle.name_user() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.user_id = '' THEN
        NEW.user_id := coalesce((
            SELECT c.user_id FROM lifecycle.change c
            WHERE c.tenant_id = NEW.tenant_id AND c.store = NEW.store AND c.key = NEW.key
            ORDER BY c.version DESC LIMIT 1), '');
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER name_user BEFORE INSERT ON lifecycle.applied
    FOR EACH ROW EXECUTE FUNCTION lifecycle.name_user();

-- Rows deleted while their tenant moves; `key` is a JSON array of the primary key's values as text.
CREATE TABLE IF NOT EXISTS lifecycle.tombstone (
    tenant_id text NOT NULL,
    table_name text NOT NULL,
    key text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, table_name, key)
);

-- Large objects of moved rows: their number in the other region's server, and in this one's. Not replicated.
CREATE TABLE IF NOT EXISTS lifecycle.large_object (
    tenant_id text NOT NULL,
    there bigint NOT NULL,
    here bigint NOT NULL,
    PRIMARY KEY (tenant_id, there)
);

-- Replicated both ways: probes and the marker of a fence.
CREATE TABLE IF NOT EXISTS lifecycle.probe (
    tenant_id text NOT NULL,
    origin text NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, origin)
);

-- One row for each write in flight, there only so that its commit is checked.
CREATE UNLOGGED TABLE IF NOT EXISTS lifecycle.write_pass (
    transaction xid8 NOT NULL,
    tenant_id text NOT NULL,
    epoch bigint,
    PRIMARY KEY (transaction, tenant_id)
);

CREATE OR REPLACE FUNCTION lifecycle.tenant_lock(tenant text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT hashtextextended('lifecycle.route:' || tenant, 20) $$;

-- Raises LM001 (another region owns the tenant; DETAIL names it) or LM002 (fenced, or the lease is over).
CREATE OR REPLACE FUNCTION lifecycle.refuse_unless_owner(r lifecycle.route, known_epoch bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF r.tenant_id IS NULL THEN
        RETURN;
    END IF;
    IF r.owner <> lifecycle.region() THEN
        RAISE EXCEPTION 'Another region owns the writes of this tenant; send the request there.'
            USING ERRCODE = 'LM001', DETAIL = r.owner;
    END IF;
    IF r.lease_until <= clock_timestamp() OR r.epoch <> known_epoch THEN
        RAISE EXCEPTION 'Writes of this tenant are fenced at the moment; try again.' USING ERRCODE = 'LM002';
    END IF;
END $$;

-- First statement of every write transaction of a tenant. Only in READ COMMITTED: an older snapshot hides the fence.
DROP FUNCTION IF EXISTS lifecycle.begin_write(text);
CREATE FUNCTION lifecycle.begin_write(
    tenant text, OUT epoch bigint, OUT soak text, OUT slot text, OUT lease_until timestamptz)
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    r lifecycle.route;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'begin_write needs READ COMMITTED: an older snapshot does not see that the tenant moved.'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(lifecycle.tenant_lock(tenant));
    -- KEY SHARE lets the lease be renewed meanwhile; the advisory lock is what keeps a fence out.
    SELECT * INTO r FROM lifecycle.route t WHERE t.tenant_id = tenant FOR KEY SHARE;
    PERFORM lifecycle.refuse_unless_owner(r, r.epoch);
    IF r.soak = 'safe' THEN
        IF r.slot = '' THEN
            RAISE EXCEPTION 'Safe soak needs the name of the slot by which the other region confirms.'
                USING ERRCODE = 'LM002';
        END IF;
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF isfinite(r.lease_until) AND current_setting('server_version_num')::integer >= 170000 THEN
        PERFORM set_config('transaction_timeout', '1s', true);
    END IF;
    INSERT INTO lifecycle.write_pass (transaction, tenant_id, epoch)
        VALUES (pg_current_xact_id(), tenant, r.epoch) ON CONFLICT DO NOTHING;
    epoch := coalesce(r.epoch, 0);
    soak := coalesce(r.soak, 'fast');
    slot := coalesce(r.slot, '');
    lease_until := coalesce(r.lease_until, 'infinity');
END $$;

CREATE OR REPLACE FUNCTION lifecycle.check_pass() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    r lifecycle.route;
BEGIN
    SELECT * INTO r FROM lifecycle.route t WHERE t.tenant_id = NEW.tenant_id;
    PERFORM lifecycle.refuse_unless_owner(r, coalesce(NEW.epoch, r.epoch));
    DELETE FROM lifecycle.write_pass p WHERE p.transaction = NEW.transaction AND p.tenant_id = NEW.tenant_id;
    RETURN NULL;
END $$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'lifecycle.write_pass'::regclass AND tgname = 'check_pass') THEN
        CREATE CONSTRAINT TRIGGER check_pass AFTER INSERT ON lifecycle.write_pass
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lifecycle.check_pass();
    END IF;
END $$;

-- Asked after a commit: was the lease still good then? Whoever owns it now: a regular change of owner waited for us.
CREATE OR REPLACE FUNCTION lifecycle.leased(tenant text, known_epoch bigint, known_lease timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT clock_timestamp() < greatest(known_lease, (
        SELECT t.lease_until FROM lifecycle.route t
        WHERE t.tenant_id = tenant AND t.epoch = known_epoch AND t.owner = lifecycle.region()))
$$;

-- Whether the other region has flushed all up to `target`, waiting at most `limit_ms`. Null: there is no such slot.
CREATE OR REPLACE FUNCTION lifecycle.confirmed(slot text, target pg_lsn, limit_ms integer) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + limit_ms * interval '1 millisecond';
    reached pg_lsn;
BEGIN
    LOOP
        SELECT s.confirmed_flush_lsn INTO reached FROM pg_replication_slots s WHERE s.slot_name = slot;
        IF reached IS NULL THEN
            RETURN NULL;
        END IF;
        IF reached >= target THEN
            RETURN true;
        END IF;
        IF clock_timestamp() >= until THEN
            RETURN false;
        END IF;
        PERFORM pg_sleep(0.001);
    END LOOP;
END $$;

-- AFTER DELETE row trigger of a moved table. Arguments: the tenant column, then the columns of its primary key.
CREATE OR REPLACE FUNCTION lifecycle.note_delete() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    gone jsonb := to_jsonb(OLD);
    tenant text := gone ->> TG_ARGV[0];
BEGIN
    IF EXISTS (SELECT FROM lifecycle.route t WHERE t.tenant_id = tenant AND t.moving) THEN
        INSERT INTO lifecycle.tombstone (tenant_id, table_name, key)
            VALUES (tenant, TG_TABLE_NAME, (
                SELECT jsonb_agg(gone ->> a.name ORDER BY a.place)::text
                FROM unnest(TG_ARGV[1:]) WITH ORDINALITY a (name, place)))
            ON CONFLICT (tenant_id, table_name, key) DO UPDATE SET at = clock_timestamp();
    END IF;
    RETURN NULL;
END $$;

-- Drops outbox rows that nobody needs: older than `keep`, of tenants that are not moving. Returns how many.
CREATE OR REPLACE FUNCTION lifecycle.prune(keep interval DEFAULT '7 days') RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM lifecycle.change c WHERE c.at < clock_timestamp() - keep
            AND NOT EXISTS (SELECT FROM lifecycle.route t WHERE t.tenant_id = c.tenant_id AND t.moving)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
