"""The definitions of the moved tables as one digest: DDL is not replicated, so both sides must agree at every stage."""

from __future__ import annotations

import hashlib
import json

from lifecycle.datamap.model import DataMap, Handling
from lifecycle.systems.postgresql.streams.database import Database, Row

# Defaults are left out: a region's sequences may differ.
_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
       CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END,
       CASE WHEN a.attcollation <> 0 THEN (SELECT collname FROM pg_collation WHERE oid = a.attcollation) END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY 1, 2"""
_CONSTRAINTS = """
SELECT c.relname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND k.contype <> 'n' ORDER BY 1, 2"""
_UNIQUE = """
SELECT c.relname, regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING ', '') FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND i.indisunique AND i.indisvalid ORDER BY 1, 2"""


def by_table(database: Database, datamap: DataMap) -> dict[str, str]:
    """SHA-256 (hex) of each moved table's columns, constraints and unique indexes."""
    names = [t.name for t in datamap.relations.tables if t.handling is not Handling.KEEP and not t.elsewhere]
    asked = {"schema": datamap.relations.schema, "tables": names}
    facts: dict[str, list[Row]] = {name: [] for name in names}
    for statement in (_COLUMNS, _CONSTRAINTS, _UNIQUE):
        for table, *rest in database.rows(statement, asked):
            facts[table].append(tuple(rest))
    return {
        name: hashlib.sha256(json.dumps(rows, default=str).encode()).hexdigest()
        for name, rows in facts.items()
    }


def digest(database: Database, datamap: DataMap) -> str:
    """One digest of all moved tables' definitions."""
    page = json.dumps(by_table(database, datamap), sort_keys=True)
    return hashlib.sha256(page.encode()).hexdigest()
