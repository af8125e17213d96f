"""Our own rows for the sample platform: people with roles, tenants, environments, data map, retention rules."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import transaction

from compliance import access, pseudonyms
from compliance.actors import SYSTEM
from compliance.models import RetentionRule
from config.environment import ROOT
from demo.platform.cast import CUSTOMERS, Customer
from demo.stack.describe import record_admins
from demo.stack.place import Place, write_private
from lifecycle import tenants
from lifecycle.engine.schedules import ensure_schedules
from lifecycle.models import Contact, Environment, Tenant
from lifecycle.participation import install

ROLE_OF = {
    "officer": "compliance officer",
    "officer2": "compliance officer",
    "legal": "legal",
    "legal2": "legal",
    "engineer": "engineer",
    "engineer2": "engineer",
    "auditor": "auditor",
}
DATAMAP = ROOT / "demo" / "datamap.yaml"
SCHEMA = ROOT / "demo" / "platform" / "schema.sql"
FIRST_ID = {"us-east-1": 1, "us-west-2": 10**15}


def seed_platform(stack: dict[str, Any]) -> None:
    """Everything that must stand before the first request; idempotent."""
    access.ensure_groups()
    ensure_schedules()
    people(stack["demo"]["users"])
    for name, region in stack["regions"].items():
        apply_schema(region["postgres"], name)
    tenants.publish_map(DATAMAP.read_text(), actor=SYSTEM)
    for each in CUSTOMERS:
        enrol(each)
    retention_rules()
    settings.RUN_DIR.mkdir(parents=True, exist_ok=True)
    write_private(settings.RUN_DIR / "places.json", {name: places(name) for name in stack["regions"]})
    if settings.RUN_DIR.joinpath("stack.json").exists():
        record_admins(Place.at(settings.RUN_DIR), {each.id: each.admin for each in CUSTOMERS})


def people(passwords: dict[str, str]) -> None:
    """One account per name, with its role's group; a new one gets the password that the stack keeps."""
    for name, role in ROLE_OF.items():
        user, made = User.objects.get_or_create(
            username=name, defaults={"is_staff": True, "email": f"{name}@lifecycle.example"}
        )
        if made:
            user.set_password(passwords[name])
            user.save()
        user.groups.set([Group.objects.get(name=role)])


def apply_schema(dsn: str, region: str) -> None:
    """The platform's own tables in one region, and what it needs to take part in moves."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7301)")
        cursor.execute(SCHEMA.read_text())
        # The regions' numbers never meet, so that a moved tenant's rows collide with nobody's.
        first = FIRST_ID[region]
        cursor.execute(
            "SELECT setval('platform_ids', %s) FROM platform_ids WHERE last_value < %s", [first, first]
        )
    install(dsn, region)


@transaction.atomic
def enrol(each: Customer) -> None:
    """One tenant with its administrator and its home. Nothing is written or audited where all of it stands."""
    if _stands(each):
        return
    tenant = tenants.register(
        each.id, actor=SYSTEM, name=each.name, kind=each.kind, tier=each.tier, region=each.region
    )
    tenants.add_contact(tenant, actor=SYSTEM, role="admin", mail=each.admin)
    tenants.add_environment(tenant, actor=SYSTEM, region=each.region, places=places(each.region))


def _stands(each: Customer) -> bool:
    said = {"name": each.name, "kind": each.kind, "tier": each.tier, "home_region": each.region}
    home = Environment.objects.filter(
        tenant_id=each.id,
        region=each.region,
        role=Environment.Role.HOME,
        places=places(each.region),
        gone_at=None,
    )
    admin = Contact.objects.filter(tenant_id=each.id, role="admin", mail_hmac=pseudonyms.of_mail(each.admin))
    return Tenant.objects.filter(id=each.id, **said).exists() and home.exists() and admin.exists()


def places(region: str) -> dict[str, dict[str, str]]:
    """Where each system of a region is: references into the stack's description, no secret."""

    def of(pointer: str) -> str:
        return f"file:stack.json#/regions/{region}/{pointer}"

    def vault(pointer: str) -> str:
        return f"file:stack.json#/backups/{pointer}"

    objects = {
        name: of(f"s3/{name}")
        for name in ("endpoint", "bucket", "key", "secret", "reader_key", "reader_secret")
    }
    return {
        "postgresql": {
            "dsn": of("postgres"),
            "reader_dsn": of("postgres_reader"),
            "mover_dsn": of("postgres_mover"),
        },
        "pinecone": {
            name: of(f"pinecone/{name}")
            for name in ("control_host", "index_host", "index", "key", "reader_key")
        },
        "s3": objects,
        "redis": {"url": of("redis"), "reader_url": of("redis_reader")},
        "cloudwatch": {
            "endpoint": of("logs/endpoint"),
            "region": region,
            **{f"archive_{name}": value for name, value in objects.items()},
        },
        "backups": {
            **{name: vault(name) for name in ("endpoint", "bucket", "key", "secret")},
            "keystore": "file:stack.json#/keystore",
        },
        "analytics": {
            "prometheus": of("prometheus"),
            "datadog": of("datadog"),
            "datadog_key": of("datadog_key"),
        },
        "application": {"url": of("app"), "questions": "queries.id.user_id.body"},
    }


def retention_rules() -> None:
    """A statute that keeps invoices seven years, a contract that delays an offboarding by 90 days."""
    RetentionRule.objects.get_or_create(
        name="Invoices of regulated tenants",
        defaults={
            "tenant_kind": "regulated",
            "category": "invoices",
            "basis": RetentionRule.Basis.STATUTE,
            "ground": RetentionRule.Ground.B,
            "citation": "§ 147 AO, § 14b UStG (invoices)",
            "days": 7 * 365 + 2,
        },
    )
    RetentionRule.objects.get_or_create(
        name="Contracted exit period",
        defaults={
            "tenant_kind": "contracted",
            "category": "*",
            "basis": RetentionRule.Basis.CONTRACT,
            "ground": RetentionRule.Ground.E,
            "citation": "Master service agreement, exit period of 90 days",
            "days": 90,
        },
    )
