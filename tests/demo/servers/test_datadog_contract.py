"""The local Datadog answers the official client: it delays, ignores late arrivals, refuses what can't be deleted."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v1.api.metrics_api import MetricsApi as MetricsV1
from datadog_api_client.v2.api.data_deletion_api import DataDeletionApi
from datadog_api_client.v2.api.logs_api import LogsApi
from datadog_api_client.v2.api.metrics_api import MetricsApi as MetricsV2
from datadog_api_client.v2.api.rum_api import RUMApi
from datadog_api_client.v2.model.create_data_deletion_request_body import CreateDataDeletionRequestBody
from datadog_api_client.v2.model.create_data_deletion_request_body_attributes import (
    CreateDataDeletionRequestBodyAttributes,
)
from datadog_api_client.v2.model.create_data_deletion_request_body_data import (
    CreateDataDeletionRequestBodyData,
)
from datadog_api_client.v2.model.create_data_deletion_request_body_data_type import (
    CreateDataDeletionRequestBodyDataType,
)
from datadog_api_client.v2.model.http_log import HTTPLog
from datadog_api_client.v2.model.http_log_item import HTTPLogItem
from datadog_api_client.v2.model.logs_list_request import LogsListRequest
from datadog_api_client.v2.model.logs_list_request_page import LogsListRequestPage
from datadog_api_client.v2.model.logs_query_filter import LogsQueryFilter
from datadog_api_client.v2.model.metric_payload import MetricPayload
from datadog_api_client.v2.model.metric_point import MetricPoint
from datadog_api_client.v2.model.metric_series import MetricSeries
from datadog_api_client.v2.model.rum_query_filter import RUMQueryFilter
from datadog_api_client.v2.model.rum_search_events_request import RUMSearchEventsRequest

from tests.demo.servers.running import KEY, Running, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    state = tmp_path_factory.mktemp("datadog")
    with Running("demo.servers.datadog", state, "--delay-s", "0") as running:
        yield running


def make_client(server: Running, key: str = KEY, app_key: str = KEY) -> ApiClient:
    configuration = Configuration(host=server.url)
    configuration.api_key = {"apiKeyAuth": key, "appKeyAuth": app_key}
    return ApiClient(configuration)


@pytest.fixture(scope="module")
def client(server: Running) -> ApiClient:
    return make_client(server)


@pytest.fixture
def user() -> str:
    return f"u-{uuid.uuid4().hex[:8]}"


def now_ms() -> int:
    return int(time.time() * 1000)


def send(client: ApiClient, *messages: str, tags: str = "", **attributes: str) -> None:
    items = [HTTPLogItem(message=text, ddtags=tags, ddsource="app", service="rag", hostname="h1", **attributes)
             for text in messages]  # fmt: skip
    LogsApi(client).submit_log(body=HTTPLog(items))


def found(client: ApiClient, query: str) -> list[str]:
    bounds = LogsQueryFilter(query=query, _from="now-1d", to=str(now_ms() + 60_000))
    pages = LogsApi(client).list_logs_with_pagination(
        body=LogsListRequest(filter=bounds, page=LogsListRequestPage(limit=2))
    )
    return sorted(log.attributes.message for log in pages)


def request_body(query: dict[str, str], begin: int, end: int) -> CreateDataDeletionRequestBody:
    attributes = CreateDataDeletionRequestBodyAttributes(displayed_total=1, _from=begin, to=end, query=query)
    kind = CreateDataDeletionRequestBodyDataType.CREATE_DELETION_REQ
    return CreateDataDeletionRequestBody(
        data=CreateDataDeletionRequestBodyData(attributes=attributes, type=kind)
    )


def delete(client: ApiClient, query: dict[str, str], product: str = "logs", end: int | None = None) -> Any:
    body = request_body(query, now_ms() - 3_600_000, now_ms() + 1 if end is None else end)
    return DataDeletionApi(client).create_data_deletion_request(product, body).data


def status(client: ApiClient, deletion_id: str) -> str:
    rows = DataDeletionApi(client).get_data_deletion_requests().data
    return next(str(row.attributes.status) for row in rows if row.id == deletion_id)


# Refusals


def test_wrong_keys_are_refused_and_intake_needs_no_application_key(server: Running, user: str) -> None:
    for key, app_key in (("wrong", KEY), (KEY, "wrong")):
        with pytest.raises(ApiException) as refusal:
            DataDeletionApi(make_client(server, key, app_key)).get_data_deletion_requests()
        assert refusal.value.status == 403
    with pytest.raises(ApiException):
        send(make_client(server, key="wrong"), "never stored")
    send(make_client(server, app_key="none"), f"stored {user}")
    assert found(make_client(server), user) == [f"stored {user}"]
    assert found(make_client(server), '"never stored"') == []


REFUSED: list[tuple[str, dict[str, str], int, int]] = [
    ("metrics", {"@user": "u1"}, 0, 10),
    ("traces", {"@user": "u1"}, 0, 10),
    ("logs", {}, 0, 10),
    ("logs", {"query": "@user:u1"}, 0, 10),
    ("logs", {"*": "u1"}, 0, 10),
    ("logs", {"@user": "*"}, 0, 10),
    ("logs", {"@user": ""}, 0, 10),
    ("logs", {"@user": '"u1'}, 0, 10),
    ("logs", {"@user": "u1"}, 10, 10),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_the_real_one_can_not_delete_is_refused(client: ApiClient, number: int) -> None:
    product, query, begin, end = REFUSED[number]
    before = len(DataDeletionApi(client).get_data_deletion_requests().data)
    with pytest.raises(ApiException) as refusal:
        DataDeletionApi(client).create_data_deletion_request(product, request_body(query, begin, end))
    assert refusal.value.status == 400
    assert len(DataDeletionApi(client).get_data_deletion_requests().data) == before


def test_a_running_or_unknown_deletion_can_not_be_cancelled(
    server: Running, client: ApiClient, user: str
) -> None:
    server.trial(run_s=60)
    try:
        made = delete(client, {"@user": user})
        until(lambda: status(client, made.id) == "running")
        for deletion_id, expected in ((made.id, 400), ("999999", 404)):
            with pytest.raises(ApiException) as refusal:
                DataDeletionApi(client).cancel_data_deletion_request(deletion_id)
            assert refusal.value.status == expected
    finally:
        server.trial(run_s=0)
    until(lambda: status(client, made.id) == "completed")


# Deletion


def test_a_deletion_is_pending_then_running_then_completed_and_spares_the_twin(
    server: Running, client: ApiClient, user: str
) -> None:
    send(client, f"of {user}", user=user)
    send(client, f"of {user}7", user=f"{user}7")
    server.trial(delay_s=60, run_s=60)
    try:
        made = delete(client, {"@user": user, "service": "rag"})
        assert made.attributes.total_unrestricted == 1
        assert made.attributes.query == f"@user:{user} service:rag"
        assert status(client, made.id) == "pending"
        server.trial(delay_s=0)
        until(lambda: status(client, made.id) == "running")
        assert found(client, f"@user:{user}*") == [f"of {user}", f"of {user}7"]
    finally:
        server.trial(delay_s=0, run_s=0)
    until(lambda: status(client, made.id) == "completed")
    assert found(client, f"@user:{user}*") == [f"of {user}7"]
    job = [entry for entry in server.log() if entry["method"] == "JOB"][-1]
    assert (job["path"], job["ids"]) == ("/deletion/logs", 1)


def test_a_star_in_a_value_is_a_wildcard_unless_quoted(client: ApiClient, user: str) -> None:
    for suffix in ("1", "17", "1*"):
        send(client, f"{user}-{suffix}", tenant=f"{user}-{suffix}")
    made = delete(client, {"@tenant": f'"{user}-1*"'})
    until(lambda: status(client, made.id) == "completed")
    assert found(client, user) == [f"{user}-1", f"{user}-17"]
    made = delete(client, {"@tenant": f"{user}-1*"})
    until(lambda: status(client, made.id) == "completed")
    assert found(client, user) == []


def test_late_arrivals_are_not_deleted(server: Running, client: ApiClient, user: str) -> None:
    send(client, f"in time {user}", user=user)
    server.trial(delay_s=60)
    try:
        end = now_ms() + 1
        made = delete(client, {"@user": user}, end=end)
        until(lambda: now_ms() > end)
        send(client, f"late {user}", user=user, timestamp=str(end - 1_000))
    finally:
        server.trial(delay_s=0)
    until(lambda: status(client, made.id) == "completed")
    assert found(client, f"@user:{user}") == [f"late {user}"]


def test_a_pending_deletion_can_be_cancelled(server: Running, client: ApiClient, user: str) -> None:
    send(client, f"kept {user}", user=user)
    server.trial(delay_s=60)
    try:
        made = delete(client, {"@user": user})
        cancelled = DataDeletionApi(client).cancel_data_deletion_request(made.id)
    finally:
        server.trial(delay_s=0)
    assert cancelled.data.attributes.status == "canceled"
    other = delete(client, {"@user": f"{user}-none"})
    until(lambda: status(client, other.id) == "completed")
    assert found(client, f"@user:{user}") == [f"kept {user}"]


def test_the_history_is_filtered_and_paged(client: ApiClient, user: str) -> None:
    made = [delete(client, {"@user": user, "n": str(number)}).id for number in range(3)]
    api = DataDeletionApi(client)
    one = api.get_data_deletion_requests(query=f"@user:{user} n:1")
    assert [row.id for row in one.data] == [made[1]]
    page = api.get_data_deletion_requests(product="logs", page_size=2)
    assert [row.id for row in page.data] == [made[2], made[1]]
    rest = api.get_data_deletion_requests(product="logs", page_size=1, next_page=page.meta.next_page)
    assert [row.id for row in rest.data] == [made[0]]
    assert api.get_data_deletion_requests(product="rum", query=f"@user:{user} n:1").data == []
    assert page.meta.count_product["logs"] >= 3
    until(lambda: {status(client, each) for each in made} == {"completed"})


def test_rum_events_are_deleted_apart_from_logs(server: Running, client: ApiClient, user: str) -> None:
    send(client, f"log {user}", user=user)
    event = [{"service": "web", "ddtags": "env:demo", "user": user, "view": {"url": "/"}}]
    headers = {"DD-API-KEY": KEY}
    server.http.post("/api/v2/rum", json=event, headers=headers).raise_for_status()

    def rum() -> list[Any]:
        bounds = RUMQueryFilter(query=f"@user:{user} @view.url:/", _from="now-1h", to="now")
        return list(RUMApi(client).search_rum_events(body=RUMSearchEventsRequest(filter=bounds)).data)

    until(lambda: len(rum()) == 1)
    made = delete(client, {"@user": user}, product="rum")
    until(lambda: status(client, made.id) == "completed")
    assert rum() == []
    assert found(client, f"@user:{user}") == [f"log {user}"]


# Logs and metrics


QUERIES: list[tuple[str, set[str]]] = [
    ("env:demo", {"plain", "json"}),
    ("service:rag host:h1 source:app", {"plain", "json", "other"}),
    ("@usr.mail:a@example.org", {"json"}),
    ("@usr.id:(x)", set()),
    ("@count:7", {"json"}),
    ("-env:demo", {"other"}),
    ("NOT env:demo", {"other"}),
    ("env:demo AND @count:7", {"json"}),
    ("@count:7 OR quick", {"json", "plain"}),
    ("(@count:7 OR quick) -@count:7", {"plain"}),
    ('"quick brown"', {"plain"}),
    ("QUICK", {"plain"}),
    ("qui", set()),
    ("qui*", {"plain"}),
]


def test_searches_find_what_they_name(client: ApiClient, user: str) -> None:
    json_line = f'{{"case":"{user}","usr":{{"mail":"a@example.org"}},"count":7}}'
    names = {f"the quick brown {user}": "plain", json_line: "json", f"nothing {user}": "other"}
    send(client, f"the quick brown {user}", tags="Env:Demo", case=user)
    send(client, json_line, tags="env:demo")
    send(client, f"nothing {user}", case=user)
    for query, expected in QUERIES:
        if query == "@usr.id:(x)":
            with pytest.raises(ApiException):
                found(client, f"@case:{user} ({query}")
            continue
        assert {names[line] for line in found(client, f"@case:{user} ({query})")} == expected, query


def test_tags_are_normalised_so_that_twins_collide_in_them(client: ApiClient, user: str) -> None:
    send(client, f"star {user}", tags=f"tenant:{user}*", case=user)
    send(client, f"bar {user}", tags=f"tenant:{user}_", case=user)
    assert found(client, f"tenant:{user}_") == [f"bar {user}", f"star {user}"]


def test_metrics_come_back_by_scope_and_can_not_be_deleted(client: ApiClient, user: str) -> None:
    now = int(time.time())
    series = [
        MetricSeries(metric="rag.requests", points=[MetricPoint(timestamp=now, value=value)],
                     tags=[f"user:{name}", "tenant:1"])
        for name, value in ((user, 2.0), (f"{user}7", 5.0))
    ]  # fmt: skip
    MetricsV2(client).submit_metrics(body=MetricPayload(series=series))

    def total(scope: str) -> list[float]:
        answer = MetricsV1(client).query_metrics(
            _from=now - 60, to=now + 60, query=f"sum:rag.requests{{{scope}}}"
        )
        return [point[1] for each in answer.series for point in (p.value for p in each.pointlist)]

    assert total(f"user:{user}") == [2.0]
    assert total(f"user:{user}*,tenant:1") == [7.0]
    assert total(f"user:{user}*,!user:{user}7") == [2.0]
    assert total("user:nobody") == []


# Faults and restarts


def test_faults_limits_and_the_log_without_personal_data(
    server: Running, client: ApiClient, user: str
) -> None:
    server.trial(fail={"status": 503, "count": 1, "path": "/deletion/"})
    with pytest.raises(ApiException) as refusal:
        delete(client, {"@user": user})
    assert refusal.value.status == 503
    server.trial(rate_per_s=1)
    refused: list[httpx.Response] = []

    def refusal_came() -> bool:
        answer = server.http.post("/api/v2/logs", json=[{"message": user}], headers={"DD-API-KEY": KEY})
        refused.extend([answer] if answer.status_code == 429 else [])
        return bool(refused)

    try:
        until(refusal_came)
    finally:
        server.trial(rate_per_s=0)
    assert refused[0].headers["X-RateLimit-Reset"] == "1"
    many = [{"message": "x"}] * 1001
    assert server.http.post("/api/v2/logs", json=many, headers={"DD-API-KEY": KEY}).status_code == 413
    assert server.http.post("/_trial", json={"delay_s": 0}).status_code == 404
    assert user not in (server.state / "access.log").read_text()


def test_a_killed_server_forgets_nothing_and_finishes_what_was_pending(
    server: Running, client: ApiClient, user: str
) -> None:
    send(client, f"kept {user}", case=user)
    send(client, f"gone {user}", case=user, user=user)
    server.trial(delay_s=60)
    made = delete(client, {"@user": user})
    server.restart()
    until(lambda: status(client, made.id) == "completed")
    assert found(client, f"@case:{user}") == [f"kept {user}"]
