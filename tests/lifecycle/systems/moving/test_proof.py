"""What a copy counts as arrived: bytes whose MD5 the server names, and where it names none, bytes that were read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from lifecycle.participation.digests import of_object
from lifecycle.systems.movable import Kind, Side
from lifecycle.systems.s3.moving import S3Mover
from tests.lifecycle.systems.moving.world import MAP, World, differences, whole
from tests.lifecycle.systems.s3.proxy import Answer, Headers, Proxy


def test_a_server_without_etags_is_read_back_and_what_it_spoilt_is_written_anew(world: World) -> None:
    body = b"figures of the year"
    world.blue.put(world.key("a"), body)
    spoilt: list[str] = []

    def spoil(path: str, answer: Answer) -> Answer:
        if "versionId=" in path and answer[1] == body and not spoilt:
            spoilt.append(path)
            return answer[0], b"F" + body[1:]
        return answer

    with _through(world, "target", spoil, _without_etag) as mover:
        whole(mover.copy)
        assert len(spoilt) == 1
        assert world.green.history(world.key("a")) == [of_object(body)]
        assert differences(mover.compare) == []


def test_an_object_that_the_server_proves_is_not_read_back_and_is_still_compared(world: World) -> None:
    for number in range(6):
        world.blue.put(world.key(f"o{number}"), b"same size %d" % number, Metadata={"n": str(number)})
    odd = world.key("odd")
    world.blue.put(odd, b"described", Metadata={"title": "a  b"})
    read: list[str] = []

    def count(path: str, answer: Answer) -> Answer:
        if "versionId=" in path:
            read.append(path)
        return answer

    with _through(world, "target", count, lambda _, headers: headers) as mover:
        mover.copy(None, 0.0)
        # Threads that start together each look at the first of a form.
        several = len(read)
        for number in range(6, 30):
            world.blue.put(world.key(f"o{number}"), b"same size %d" % number, Metadata={"n": str(number)})
        whole(mover.copy)
        assert len(read) == several, "later ones of the same form are not read"
        assert differences(mover.compare) == []
        planted = world.key("o3")
        world.green.drop_versions(planted)
        world.green.put(planted, b"same size X", Metadata={"n": "3"})
        found = differences(mover.compare)
        assert [(each.kind, each.key) for each in found] == [(Kind.CORRUPTED, planted)]
        assert mover.repair(found) == 1
    assert world.green.get(planted) == b"same size 3"


def test_bytes_that_changed_on_their_way_here_are_read_again(world: World) -> None:
    body = b"figures of the quarter"
    world.blue.put(world.key("a"), body)
    spoilt: list[str] = []

    def spoil(path: str, answer: Answer) -> Answer:
        if answer[1] == body and not spoilt:
            spoilt.append(path)
            return answer[0], b"F" + body[1:]
        return answer

    with _through(world, "source", spoil, lambda _, headers: headers) as mover:
        whole(mover.copy)
    assert len(spoilt) == 1
    assert world.green.history(world.key("a")) == [of_object(body)]


@contextmanager
def _through(
    world: World, side: str, after: Callable[[str, Answer], Answer], headers: Headers
) -> Iterator[S3Mover]:
    """A mover that reaches one side through a proxy."""
    move = world.move("s3")
    one: Side = getattr(move, side)
    proxy = Proxy(one.place["endpoint"], lambda _, __: None, after, headers)
    through = Side(one.region, {**one.place, "endpoint": proxy.endpoint})
    mover = S3Mover(replace(move, source=through) if side == "source" else replace(move, target=through), MAP)
    try:
        yield mover
    finally:
        mover.close()
        proxy.close()


def _without_etag(_: str, headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "etag"}
