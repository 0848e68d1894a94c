"""Reactive values: compare-and-set, and every version is seen."""

from __future__ import annotations

import threading
from typing import Any

import grpc
from grpc import StatusCode as Status

from client import Reader, Tape, fresh, read, refused


def test_versions_grow_by_one(tape: Tape) -> None:
    at = {"namespace": fresh("ns"), "key": "k"}
    assert not tape.GetValue(**at).found
    first = tape.WriteValue(**at, value_json='{"a":  1}', if_version=0, writer="ann")
    assert (first.version, first.value_json, first.writer, first.deleted) == (1, '{"a":  1}', "ann", False)
    assert first.ts_ms > 0 and (first.namespace, first.key) == (at["namespace"], "k")
    second = tape.WriteValue(**at, value_json="2", if_version=1)
    third = tape.WriteValue(**at, value_json="3", if_version=-1)
    assert (second.version, third.version) == (2, 3)
    assert tape.GetValue(**at).value == third
    gone = tape.DeleteValue(**at)
    assert (gone.deleted, gone.version) == (True, 4)
    found = tape.GetValue(**at)
    assert not found.found or found.value.deleted
    assert not tape.DeleteValue(**at).deleted
    # After a delete it can be created again, under the next version.
    assert tape.WriteValue(**at, value_json="5", if_version=0).version == 5


def test_a_lost_compare_names_the_version_in_force(tape: Tape) -> None:
    at = {"namespace": fresh("ns"), "key": "k"}
    tape.WriteValue(**at, value_json="1")
    for wrong in (0, 2, 7):
        refusal = refused(Status.ABORTED, "version 1", tape.WriteValue, **at, value_json='"other"', if_version=wrong)
        assert refusal.metadata["version"] == "1"
    refused(Status.ABORTED, "", tape.WriteValue, namespace=at["namespace"], key="none", value_json="1", if_version=3)
    assert tape.GetValue(**at).value.value_json == "1"


def test_a_repeated_write_with_a_request_id_is_one(tape: Tape) -> None:
    at = {"namespace": fresh("ns"), "key": "k"}
    write = {**at, "value_json": "1", "if_version": 0, "request_id": fresh()}
    first = tape.WriteValue(**write)
    assert tape.WriteValue(**write) == first
    assert tape.GetValue(**at).value.version == 1


def test_one_of_many_writers_wins_each_version(tape: Tape) -> None:
    at = {"namespace": fresh("ns"), "key": "counter"}
    tape.WriteValue(**at, value_json="0")

    def add() -> None:
        own, left = Tape(tape.target), 5
        while left:
            now = own.GetValue(**at).value
            try:
                own.WriteValue(**at, value_json=str(int(now.value_json) + 1), if_version=now.version)
                left -= 1
            except grpc.RpcError as error:
                assert read(error).status == Status.ABORTED
        own.close()

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tape.GetValue(**at).value.value_json, tape.GetValue(**at).value.version) == ("30", 31)


def test_a_watcher_sees_every_version_with_the_one_before(tape: Tape) -> None:
    at = {"namespace": fresh("ns"), "key": "k"}
    tape.WriteValue(**at, value_json="1")
    with Reader(tape.WatchValue(**at, from_version=1, patience_s=60)) as reader:
        for number in range(2, 40):
            tape.WriteValue(**at, value_json=str(number), if_version=number - 1)
        tape.DeleteValue(**at)
        seen = reader.until(lambda seen: seen if seen and seen[-1].value.version == 40 else None)
    versions = [event.value.version for event in seen]
    assert versions == list(range(versions[0], 41)) and versions[0] in (1, 2)
    for event in seen[1:]:
        assert event.prev_version == event.value.version - 1
        assert event.prev_value_json == str(event.prev_version)
        assert event.value.deleted == (event.value.version == 40)


def test_a_watcher_of_what_is_not_there_sees_it_come(tape: Tape) -> None:
    at = {"namespace": fresh("ns"), "key": "k"}
    with Reader(tape.WatchValue(**at, patience_s=60)) as reader:
        tape.WriteValue(**at, value_json='"here"')
        event = reader.until(lambda seen: seen)[0]
        assert (event.value.version, event.value.value_json, event.prev_version, event.prev_value_json) == (
            1,
            '"here"',
            0,
            "",
        )


def test_a_slow_watcher_is_told_that_it_fell_behind(tape: Tape) -> None:
    at = {"namespace": fresh("ns"), "key": "k"}
    small = Tape(tape.target, options=(("grpc.http2.lookahead_bytes", 1024),))
    watch = small.WatchValue(**at, patience_s=110)
    value = '"' + "x" * 100_000 + '"'
    for version in range(0, 400):
        tape.WriteValue(**at, value_json=value, if_version=version)
    seen: list[Any] = []
    try:
        for event in watch:
            seen.append(event.value.version)
            if event.value.version == 400:
                watch.cancel()
    except grpc.RpcError as error:
        told = read(error)
        if told.status != Status.CANCELLED:
            assert told.status == Status.DATA_LOSS, told
            assert int(told.metadata["version"]) >= (seen[-1] if seen else 0), told
            assert told.code.startswith("TAPE-")
    small.close()
    assert seen == list(range(1, len(seen) + 1)), "never silently skipped"


def test_keys_are_kept_apart(tape: Tape) -> None:
    one, other = fresh("ns"), fresh("ns")
    tape.WriteValue(namespace=one, key="a/b", value_json="1")
    tape.WriteValue(namespace=other, key="a/b", value_json="2")
    tape.WriteValue(namespace=one + "/a", key="b", value_json="3")
    assert [tape.GetValue(namespace=ns, key="a/b").value.value_json for ns in (one, other)] == ["1", "2"]
    assert tape.GetValue(namespace=one + "/a", key="b").value.value_json == "3"


def test_what_is_wrong_with_a_value_is_named(tape: Tape) -> None:
    at = {"namespace": fresh("ns"), "key": "k"}
    refused(Status.INVALID_ARGUMENT, "key", tape.WriteValue, namespace="n", value_json="1")
    refused(Status.INVALID_ARGUMENT, "value_json JSON", tape.WriteValue, **at, value_json="{")
    refused(Status.INVALID_ARGUMENT, "key", tape.GetValue, namespace="n")
    refused(Status.INVALID_ARGUMENT, "key", tape.DeleteValue, namespace="n")
    refused(Status.INVALID_ARGUMENT, "key", tape.WatchValue, namespace="n")
    refused(Status.INVALID_ARGUMENT, "from_version -1", tape.WatchValue, **at, from_version=-1)
    refused(Status.INVALID_ARGUMENT, "key 513 512", tape.WriteValue, namespace="n", key="k" * 513, value_json="1")
    assert tape.WriteValue(namespace=at["namespace"], key="k" * 512, value_json="1").version == 1
