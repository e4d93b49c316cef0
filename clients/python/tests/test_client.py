"""The clients as users call them."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

import semel
from semel.testing import Decision, Fake, Server
from semel.v1 import semel_pb2 as pb


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def client(fake):
    with semel.Client(transport=fake) as made:
        yield made


def test_once_runs_once(client, fake):
    ran = []
    outcomes = [client.once("e", "k", {"a": 1}, lambda attempt: ran.append(attempt.number) or "v") for _ in range(2)]
    assert [outcome.replayed for outcome in outcomes] == [False, True]
    assert {outcome.value for outcome in outcomes} == {"v"}
    assert ran == [1]
    assert [call.method for call in fake.calls()] == ["Begin", "Complete", "Begin"]


def test_a_block_stores_its_result_and_is_replayed(client):
    for first in (True, False):
        with client.attempt("e", "k", None) as block:
            assert block.started == first
            if block.started:
                block.result = {"id": 7}
        assert block.value == {"id": 7}


def test_an_error_in_a_block_is_told_apart(client, fake):
    with pytest.raises(semel.Retryable), client.attempt("e", "k", None) as block:
        assert block.attempt.number == 1
        raise semel.Retryable("no connection")
    assert [call.method for call in fake.calls()] == ["Begin", "Abort"]


def test_a_replayed_block_has_no_attempt(client, fake):
    fake.script("e", "k", Decision.replayed(5))
    with client.attempt("e", "k", None) as block, pytest.raises(semel.InvalidError):
        _ = block.attempt
    assert block.value == 5


def test_the_decorator(client):
    @client.idempotent("e", key=lambda order: f"order-{order}", request=lambda order: {"order": order})
    def charge(order):
        return order * 2

    assert (charge(21).value, charge(21).replayed, charge.__name__) == (42, True, "charge")


def test_the_decorator_of_coroutines(fake):
    async def main():
        async with semel.AsyncClient(transport=fake) as client:

            @client.idempotent("e", key=str)
            async def charge(order):
                return order * 2

            return [(await charge(21)).replayed for _ in range(2)]

    assert asyncio.run(main()) == [False, True]


def test_nested_in_a_thread_of_its_own_is_no_nesting(client):
    def work(_):
        with pytest.raises(semel.InvalidError, match="NESTED"):
            client.once("e", "k", None, lambda _: 1)
        found = []
        other = threading.Thread(target=lambda: found.append(client.once("e", "other", None, lambda _: 2).value))
        other.start()
        other.join()
        return found[0]

    assert client.once("e", "k", None, work).value == 2


def test_an_exit_in_the_work_is_reported_and_goes_on(client, fake):
    def work(_):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        client.once("e", "k", None, work)
    assert [call.method for call in fake.calls()] == ["Begin", "Abort"]


def test_no_thread_for_a_call(client):
    client.once("e", "first", None, lambda _: 1)
    threads = threading.active_count()
    seen = []
    for number in range(50):
        client.once("e", f"k{number}", None, lambda _: seen.append(threading.active_count()))
    assert set(seen) == {threads}


def test_a_closed_client_says_so(fake):
    client = semel.Client(transport=fake)
    client.close()
    with pytest.raises(semel.InvalidError, match="CLIENT_CLOSED"):
        client.once("e", "k", None, lambda _: 1)
    assert fake.calls() == []


def test_a_forked_process_is_refused(client):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            client.once("e", "k", None, lambda _: 1)
        except semel.InvalidError as error:
            code = 0 if error.reason == "FORKED" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_warnings_do_not_say_the_key(client, caplog):
    with caplog.at_level(logging.WARNING, logger="semel"):
        client.once("e", "jane@example.com", None, lambda _: 1)
    assert "mail_address" in caplog.text
    assert "jane" not in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"address": "ftp://x"},
        {"address": "http://"},
        {"address": "http://x:port"},
        {"address": "http://example.com:7400", "token": "t"},
        {"address": "http://127.0.0.1:7400", "tls_ca": "ca.pem"},
        {"address": "https://x", "tls_cert": "cert.pem"},
        {"timeout": 0},
    ],
)
def test_options_that_do_not_go_together(options):
    with pytest.raises(semel.InvalidError):
        semel.Client(semel.Options(**options))


def test_a_token_is_read_again(tmp_path):
    from semel.options import Options, Token

    file = tmp_path / "token"
    file.write_text("first\n")
    token = Token(Options(token_file=str(file)))
    file.write_text("second")
    token.forget()
    assert token.bearer() == "second"
    file.write_text("")
    token.forget()
    assert token.bearer() == "second"
    assert "second" not in repr(Options(token="second"))


def test_a_real_server(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text('[defaults]\nlease = "1s"\n')
    with Server("--policy", str(policy)) as server, semel.Client(semel.Options(address=server.address)) as client:

        def long(attempt):
            end = time.monotonic() + 3  # three leases: without renewals it would be lost
            while time.monotonic() < end:
                assert not attempt.lost.wait(0.05)
            return attempt.fence

        first = client.once("e", "k", {"a": 1}, long)
        again = client.once("e", "k", {"a": 1}, long)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.value == again.value == again.fence


def test_many_at_a_time():
    with Server() as server, semel.Client(semel.Options(address=server.address)) as client:
        ran = []
        work = lambda _: ran.append(1) or 7  # noqa: E731

        def call():
            assert client.once("e", "k", None, work, wait=30).value == 7

        threads = [threading.Thread(target=call) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ran == [1]


def test_a_bare_stub_sends_again_by_the_service_config():
    sent = []

    def lookup(_, context):
        sent.append(1)
        if len(sent) <= 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return pb.LookupResponse()

    method = grpc.unary_unary_rpc_method_handler(
        lookup,
        request_deserializer=pb.LookupRequest.FromString,
        response_serializer=pb.LookupResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor())
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("semel.v1.IdempotencyService", {"Lookup": method}),)
    )
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with grpc.insecure_channel(address, options=[("grpc.service_config", semel.service_config())]) as channel:
        call = channel.unary_unary(
            "/semel.v1.IdempotencyService/Lookup",
            request_serializer=pb.LookupRequest.SerializeToString,
            response_deserializer=pb.LookupResponse.FromString,
        )
        assert call(pb.LookupRequest()) == pb.LookupResponse()
    server.stop(None).wait()
    assert len(sent) == 3


def test_every_plain_method():
    key = pb.Key(endpoint="e", idempotency_key="plain")
    first, second = (str(uuid.UUID(int=number, version=4)) for number in (1, 2))
    with Server() as server, semel.Client(semel.Options(address=server.address)) as client:
        request = pb.BeginRequest(key=key, attempt_id=first)
        fence = client.begin(request).started.fence
        assert not request.key.tenant  # the caller's own stays as it is
        client.renew(pb.RenewRequest(key=key, fence=fence, attempt_id=first))
        client.save_checkpoint(pb.SaveCheckpointRequest(key=key, fence=fence, attempt_id=first, name="n", value=b"v"))
        result = pb.Result(outcome=pb.Result.OUTCOME_SUCCESS, payload=b"1")
        client.complete(pb.CompleteRequest(key=key, fence=fence, attempt_id=first, result=result))
        assert client.lookup(pb.LookupRequest(key=key)).record.state == pb.STATE_COMPLETED
        assert len(client.list_records(pb.ListRecordsRequest()).records) == 1
        client.forget_record(pb.ForgetRecordRequest(key=key, fence=fence))
        assert client.get_policy(pb.GetPolicyRequest(endpoint="e")).source == "defaults"
        batch = client.batch_begin(pb.BatchBeginRequest(requests=[pb.BeginRequest(key=key, attempt_id=second)]))
        owner = {"key": key, "fence": batch.items[0].response.started.fence, "attempt_id": second}
        client.abort(pb.AbortRequest(**owner, disposition=pb.AbortRequest.DISPOSITION_OUTCOME_UNKNOWN))
        client.resolve_record(pb.ResolveRecordRequest(key=key, fence=owner["fence"], release=True))
        late = client.batch_complete(pb.BatchCompleteRequest(requests=[pb.CompleteRequest(**owner, result=result)]))
        assert late.items[0].error.reason == "FENCE_LOST"


def test_nothing_is_sent_for_a_caller_that_has_gone(fake):
    async def main():
        async with semel.AsyncClient(transport=fake) as client:
            task = asyncio.ensure_future(client.once("e", "k", None, lambda _: 1))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert fake.calls() == []


def test_nothing_is_sent_after_a_pause_that_took_all_the_time_that_was_left(fake, monkeypatch):
    fake.script("e", "k", Decision.unavailable())
    clock, late = time.monotonic, [0.0]

    async def sleep(_):
        late[0] += 60

    async def main():
        async with semel.AsyncClient(transport=fake) as client:
            with pytest.raises(semel.StoreUnavailableError):
                await client.begin(pb.BeginRequest(key=pb.Key(endpoint="e", idempotency_key="k")))

    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: clock() + late[0])
        patched.setattr(asyncio, "sleep", sleep)
        asyncio.run(main())
    assert late == [60]
    assert [call.method for call in fake.calls()] == ["Begin"]
