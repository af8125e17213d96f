"""The desks in Chromium, on the real stack: approve and watch, hold and release, download and verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from compliance.certificate import verification
from compliance.models import AuditEvent, ErasureRequest, LegalHold
from demo.platform.cast import Customer
from lifecycle import housekeeping
from lifecycle.erasure import actions
from tests.lifecycle.erasure.world import World, failures

SYSTEMS = ("postgresql", "pinecone", "s3", "redis", "cloudwatch", "backups", "analytics")
SignIn = Callable[[str], Page]


@pytest.fixture(scope="module")
def customer(world: World) -> Customer:
    """One seeded tenant for both tests; each takes a user of its own."""
    return world.tenant("ada", "bob")


def _request_url(site: str, request: ErasureRequest) -> str:
    return site + reverse("admin:compliance_erasurerequest_change", args=[request.pk])


def _filed_by_form(page: Page, customer: Customer, user: str) -> ErasureRequest:
    """An officer files it; a stranger's address is refused with a sentence first."""
    page.get_by_role("link", name="File a request").click()
    page.get_by_label("Tenant").select_option(customer.id)
    page.get_by_label("User id").fill(user)
    page.get_by_label("Requested by").fill("stranger@elsewhere.example")
    page.get_by_role("button", name="File and count").click()
    page.get_by_text(f"The requester is no admin of tenant {customer.id}").wait_for()
    page.get_by_label("Requested by").fill(customer.admin)
    page.get_by_role("button", name="File and count").click()
    page.get_by_role("heading", name=f"One user of tenant {customer.id}").wait_for(timeout=40_000)
    expect(page.locator("#preview tbody tr")).to_have_count(len(SYSTEMS))
    page.get_by_text("officer filed this request; somebody else must approve it.").wait_for()
    return ErasureRequest.objects.get(tenant_id=customer.id, state="awaiting_approval")


def _settle(page: Page) -> None:
    """Settles every recipient that waits, as an officer would with the answers in hand."""
    while (form := page.locator("#recipients form")).count():
        form.first.get_by_label("Evidence in words").fill("Answer of 3 March: erased.")
        form.first.get_by_role("button", name="Settle").click()
        page.wait_for_load_state()


@pytest.mark.timeout(300)
def test_an_officer_approves_watches_the_seven_systems_and_downloads_the_proof(
    world: World,
    customer: Customer,
    site: str,
    signed_in: SignIn,
    password: Callable[[str], str],
    downloads: Path,
) -> None:
    request = world.request(customer, "ada")
    page = signed_in("officer")
    page.locator("#waiting").get_by_text(request.pk).wait_for()
    page.goto(_request_url(site, request))
    expect(page.locator("#preview tbody tr")).to_have_count(len(SYSTEMS))

    approve = page.locator("#verb-approve")
    approve.get_by_label("Your password, again").fill("not the password")
    approve.get_by_role("button").click()
    page.get_by_text("The password is wrong, so nothing was decided.").wait_for()
    request.refresh_from_db()
    assert request.state == "awaiting_approval"
    assert not request.decisions.exists()

    page.locator("#verb-approve").get_by_label("Your password, again").fill(password("officer"))
    page.locator("#verb-approve").get_by_role("button").click()
    page.get_by_text("Approved. The erasure starts by itself").wait_for()
    request.refresh_from_db()
    assert request.state in ("scheduled", "executing")

    _settle(page)
    run = actions.live_run(request) or actions.start(request)
    world.finish(run)
    request.refresh_from_db()
    assert request.state in ("completed", "partially_completed"), [request.state_reason, *failures(run)]
    # The page has followed by itself: nobody reloaded it.
    expect(page.get_by_text("Open and download")).to_be_visible()
    for system in SYSTEMS:
        row = page.locator(f"#systems tr[data-system={system}]")
        assert row.locator('td[data-label="Found"]').inner_text().strip() not in ("", "–"), system
        expect(row.locator('td[data-label="Residue"]')).to_have_text("0")

    page.get_by_text("Open and download").click()
    page.locator("#downloads").wait_for()
    files = []
    for link in page.locator("#downloads a").all():
        with page.expect_download() as caught:
            link.click()
        target = downloads / caught.value.suggested_filename
        caught.value.save_as(target)
        files.append(target)
    assert len(files) == 7
    assert verification.verify(files) == []
    certificate = request.certificates.get()
    assert (
        AuditEvent.objects.filter(verb="certificate.handed_out", case_id=request.pk, actor="officer").count()
        == 7
    )

    stranger = signed_in("engineer")
    stranger.goto(site + reverse("admin:compliance_certificate_change", args=[certificate.pk]))
    stranger.get_by_text("engineer has none of the roles that may do this").wait_for()
    url = site + reverse("admin:compliance_certificate_file", args=[certificate.pk, f"{certificate.pk}.pdf"])
    assert stranger.request.get(url).status == 403


def test_legal_places_a_hold_sees_what_it_stops_and_a_second_person_releases_it(
    world: World, customer: Customer, site: str, signed_in: SignIn
) -> None:
    request = _filed_by_form(signed_in("officer"), customer, "bob")
    page = signed_in("legal")
    page.get_by_role("link", name="Place a hold").click()
    page.get_by_label("Tenant").select_option(customer.id)
    page.get_by_label("User id (custodian)").fill("bob")
    page.get_by_label("Case", exact=True).fill("2026/C-17")
    page.get_by_role("button", name="Place the hold").click()
    page.get_by_text("is in force: nothing in its scope is destroyed").wait_for()
    page.locator("#stopped").get_by_text(request.pk).wait_for()
    hold = LegalHold.objects.get(tenant_id=customer.id)
    request.refresh_from_db()
    assert request.state == "blocked_by_hold"

    page.get_by_label("Reason").fill("settled out of court")
    page.get_by_role("button", name="Ask for the release").click()
    page.get_by_text("still blocks until a second person of legal confirms").first.wait_for()
    page.get_by_text("a second person must confirm it").wait_for()
    assert page.locator("#verb-release").count() == 0
    hold.refresh_from_db()
    assert hold.state == "release_requested"

    second = signed_in("legal2")
    second.goto(site + reverse("admin:compliance_legalhold_change", args=[hold.pk]))
    second.get_by_label("Reason").fill("confirmed with counsel")
    second.get_by_role("button", name="Release the hold").click()
    second.get_by_text("What only this hold stopped goes on by itself.").wait_for()
    hold.refresh_from_db()
    assert (hold.state, hold.released_by and hold.released_by.username) == ("released", "legal2")
    housekeeping.resume_unblocked()
    request.refresh_from_db()
    assert request.state == "awaiting_approval"
