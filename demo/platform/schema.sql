-- The sample platform's own database, one per region. Shapes that real platforms have, awkward ones included.
CREATE SEQUENCE IF NOT EXISTS platform_ids;

CREATE TABLE IF NOT EXISTS users (
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    email text NOT NULL,
    full_name text NOT NULL,
    frozen_at timestamptz,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE IF NOT EXISTS documents (
    tenant_id text NOT NULL,
    id text NOT NULL,
    owner_id text NOT NULL,
    title text NOT NULL,
    s3_key text NOT NULL,
    sha256 text NOT NULL,
    original oid,
    hidden boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS documents_owner ON documents (tenant_id, owner_id);

-- No tenant column: reached only through its document.
CREATE TABLE IF NOT EXISTS chunks (
    id bigint PRIMARY KEY DEFAULT nextval('platform_ids'),
    document_id text NOT NULL REFERENCES documents (id),
    position integer NOT NULL,
    body text NOT NULL,
    embedding vector(8)
);
CREATE INDEX IF NOT EXISTS chunks_document ON chunks (document_id);

-- Two levels below a document, still without a tenant column.
CREATE TABLE IF NOT EXISTS highlights (
    id bigint PRIMARY KEY DEFAULT nextval('platform_ids'),
    chunk_id bigint NOT NULL REFERENCES chunks (id),
    note text NOT NULL
);
CREATE INDEX IF NOT EXISTS highlights_chunk ON highlights (chunk_id);

CREATE TABLE IF NOT EXISTS queries (
    id bigint PRIMARY KEY DEFAULT nextval('platform_ids'),
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    body text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS queries_user ON queries (tenant_id, user_id);

CREATE TABLE IF NOT EXISTS access_controls (
    tenant_id text NOT NULL,
    document_id text NOT NULL REFERENCES documents (id),
    user_id text NOT NULL,
    granted_by text,
    PRIMARY KEY (document_id, user_id)
);

CREATE TABLE IF NOT EXISTS api_keys (
    id bigint PRIMARY KEY DEFAULT nextval('platform_ids'),
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    digest text NOT NULL,
    revoked_at timestamptz
);

-- Shared between users: stays while somebody else's message is in it.
CREATE TABLE IF NOT EXISTS conversations (
    id bigint PRIMARY KEY DEFAULT nextval('platform_ids'),
    tenant_id text NOT NULL,
    started_by text,
    topic text NOT NULL
);

CREATE TABLE IF NOT EXISTS messages (
    id bigint PRIMARY KEY DEFAULT nextval('platform_ids'),
    conversation_id bigint NOT NULL REFERENCES conversations (id),
    tenant_id text NOT NULL,
    author_id text NOT NULL,
    body text NOT NULL,
    reply_to bigint REFERENCES messages (id) ON DELETE SET NULL,
    sent_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS messages_author ON messages (tenant_id, author_id);
CREATE INDEX IF NOT EXISTS messages_conversation ON messages (conversation_id);
CREATE INDEX IF NOT EXISTS messages_reply ON messages (reply_to);

CREATE TABLE IF NOT EXISTS invoices (
    id bigint PRIMARY KEY DEFAULT nextval('platform_ids'),
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    amount_cents bigint NOT NULL,
    billed_to text NOT NULL,
    issued_at timestamptz NOT NULL DEFAULT now()
);

-- Kept and anonymised: who did it becomes a pseudonym.
CREATE TABLE IF NOT EXISTS audit_logs (
    id bigint PRIMARY KEY DEFAULT nextval('platform_ids'),
    tenant_id text NOT NULL,
    actor_id text NOT NULL,
    action text NOT NULL,
    ip inet,
    detail jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS audit_logs_actor ON audit_logs (tenant_id, actor_id);

-- No foreign key and no primary key at all.
CREATE TABLE IF NOT EXISTS feedback (
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    score integer NOT NULL,
    comment text NOT NULL
);

-- Holds nothing personal; classified as such.
CREATE TABLE IF NOT EXISTS plans (name text PRIMARY KEY, monthly_cents bigint NOT NULL);

-- The platform honours a freeze: ingestion, sessions and queues ask here. No id in clear: SHA-256 of "tenant/user".
CREATE TABLE IF NOT EXISTS frozen_subjects (subject_hash text PRIMARY KEY, since timestamptz NOT NULL DEFAULT now());

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_matviews WHERE matviewname = 'user_activity') THEN
        CREATE MATERIALIZED VIEW user_activity AS
            SELECT u.tenant_id, u.user_id, u.email, count(q.id) AS queries
            FROM users u LEFT JOIN queries q USING (tenant_id, user_id)
            GROUP BY u.tenant_id, u.user_id, u.email;
        CREATE UNIQUE INDEX user_activity_key ON user_activity (tenant_id, user_id);
    END IF;
END
$$;
