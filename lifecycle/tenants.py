"""Tenants, their environments, and the data map in force."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from importlib import import_module

from django.db import transaction

from compliance import audit, pseudonyms
from compliance.actors import Actor
from compliance.errors import Refused
from compliance.keystore import default as keystore
from compliance.sealing import seal
from lifecycle import places
from lifecycle.datamap.loader import load
from lifecycle.datamap.model import DataMap
from lifecycle.models import Contact, DataMapVersion, Environment, Tenant
from lifecycle.systems.base import Permanent


def current_map() -> DataMap:
    """The data map in force. Raises Permanent while none was published."""
    row = DataMapVersion.objects.order_by("-version").first()
    if row is None:
        raise Permanent("No data map is published. Publish one with `manage.py datamap publish FILE`.")
    return _parsed(row.version, row.text)


@lru_cache(maxsize=4)
def _parsed(version: int, text: str) -> DataMap:
    return replace(load(text), version=version)


def publish_map(text: str, *, actor: Actor) -> DataMapVersion:
    """Makes `text` the data map in force; the same text again changes nothing. Raises the loader's refusal as Refused."""
    latest = DataMapVersion.objects.order_by("-version").first()
    version = (latest.version if latest else 0) + 1
    try:
        loaded = load(text)
    except ValueError as failure:
        raise Refused(str(failure)) from None
    if latest is not None and latest.digest == loaded.digest:
        return latest
    with transaction.atomic():
        row = DataMapVersion.objects.create(
            version=version, text=text, digest=loaded.digest, published_by=actor.name
        )
        audit.record("datamap.published", actor=actor, data={"version": version, "digest": loaded.digest})
    return row


def drift(tenant: Tenant | str, datamap: DataMap) -> list[str]:
    """Sentences that name what lies in the tenant's live systems and nobody has classified; [] when the map is whole."""
    found: list[str] = []
    for environment in places.environments(tenant):
        for system in places.systems_of(environment):
            module = import_module(f"lifecycle.systems.{system}.drift")
            found += [
                f"{environment.region}/{system}: {sentence}"
                for sentence in module.unclassified(places.place(environment, system), datamap)
            ]
    return sorted(set(found))


def register(
    tenant_id: str, *, actor: Actor, name: str, kind: str = "standard", tier: str = "silver", region: str
) -> Tenant:
    """Adds a tenant, or changes what is said of it."""
    with transaction.atomic():
        tenant, made = Tenant.objects.update_or_create(
            id=tenant_id, defaults={"name": name, "kind": kind, "tier": tier, "home_region": region}
        )
        audit.record("tenant.registered" if made else "tenant.changed", actor=actor, tenant_id=tenant_id)
    return tenant


def add_environment(
    tenant: Tenant, *, actor: Actor, region: str, places: dict[str, dict[str, str]], role: str = "home"
) -> Environment:
    """Adds (or changes) one environment of a tenant. `places` holds settings and secret references only."""
    with transaction.atomic():
        environment, _ = Environment.objects.update_or_create(
            id=f"{tenant.pk}@{region}" if role == "home" else f"{tenant.pk}@{region}#{role}",
            defaults={"tenant": tenant, "region": region, "role": role, "places": places, "gone_at": None},
        )
        audit.record(
            "environment.registered", actor=actor, tenant_id=tenant.pk, data={"environment": environment.pk}
        )
    return environment


def retire(tenant: Tenant, *, actor: Actor) -> None:
    """A tenant whose data was erased: our own rows of its people go, its id stays as the subject of the proof."""
    with transaction.atomic():
        gone, _ = Contact.objects.filter(tenant=tenant).delete()
        Tenant.objects.filter(pk=tenant.pk).update(status=Tenant.Status.ERASED)
        audit.record("tenant.retired", actor=actor, tenant_id=tenant.pk, data={"contacts": gone})


def add_contact(tenant: Tenant, *, actor: Actor, role: str, mail: str, public_key: str = "") -> Contact:
    """Adds a person who may speak for the tenant; the address is sealed under the tenant's key."""
    key = keystore().get_or_create(f"tenant/{tenant.pk}")
    with transaction.atomic():
        contact, _ = Contact.objects.update_or_create(
            tenant=tenant,
            role=role,
            mail_hmac=pseudonyms.of_mail(mail),
            defaults={
                "sealed_mail": seal(key, mail.encode(), f"contact/{tenant.pk}"),
                "public_key": public_key,
            },
        )
        audit.record("contact.added", actor=actor, tenant_id=tenant.pk, data={"role": role})
    return contact
