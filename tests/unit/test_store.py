"""The store ends up with the truth, however its events are delivered."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from plimsoll.world.store import Item, Key, Store


@dataclass(frozen=True)
class Event:
    """One event of the true history; ``item.value`` is unique to it."""

    deleted: bool
    item: Item[str]


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """What really happened to a few objects, in order. Versions rise by one."""
    alive: dict[str, int] = {}
    events = []
    births = 0
    for version in range(1, draw(st.integers(1, 25)) + 1):
        name = draw(st.sampled_from("abc"))
        deleted = name in alive and draw(st.booleans())
        if name not in alive:
            births += 1
            alive[name] = births
        uid = f"uid-{alive[name]}"
        if deleted:
            del alive[name]
        events.append(Event(deleted, Item(Key("ns", name), uid, version, f"v{version}")))
    return events


def truth(events: list[Event]) -> dict[Key, Item[str]]:
    state: dict[Key, Item[str]] = {}
    for event in events:
        state.pop(event.item.key, None)
        if not event.deleted:
            state[event.item.key] = event.item
    return state


def deliver(store: Store[str], event: Event) -> None:
    (store.remove if event.deleted else store.put)(event.item)


def contents(store: Store[str]) -> set[str]:
    return set(store.values())


def values(state: dict[Key, Item[str]]) -> set[str | None]:
    return {item.value for item in state.values()}


@given(history=histories(), data=st.data())
def test_order_and_repetition_of_events_do_not_matter(
    history: list[Event], data: st.DataObject
) -> None:
    listed = data.draw(st.integers(0, len(history)), label="events before the list")
    store: Store[str] = Store()
    store.replace(truth(history[:listed]).values(), listed)
    again = data.draw(st.lists(st.sampled_from(history), max_size=10), label="delivered again")
    for event in data.draw(st.permutations(history[listed:] + again), label="order"):
        deliver(store, event)
    assert contents(store) == values(truth(history))


@given(history=histories(), data=st.data())
def test_nothing_before_a_bookmark_comes_back(history: list[Event], data: st.DataObject) -> None:
    store: Store[str] = Store()
    for event in history:
        deliver(store, event)
        if data.draw(st.booleans()):
            store.bookmark(event.item.version)
            late = history[: event.item.version]
            deliver(store, data.draw(st.sampled_from(late)))
    assert contents(store) == values(truth(history))


@given(history=histories(), data=st.data())
def test_a_list_leaves_nothing_stale_and_tells_every_difference(
    history: list[Event], data: st.DataObject
) -> None:
    seen = data.draw(st.integers(0, len(history)), label="events seen before the gap")
    store: Store[str] = Store()
    told: dict[Key, str] = {}

    def listen(key: Key, old: str | None, new: str | None) -> None:
        assert told.get(key) == old, "each change follows on the one before"
        if new is None:
            del told[key]
        else:
            told[key] = new

    store.on_change(listen)
    for event in history[:seen]:
        deliver(store, event)
    store.replace(truth(history).values(), len(history))
    assert contents(store) == values(truth(history)) == set(told.values())


@given(history=histories(), data=st.data())
def test_the_barrier_opens_exactly_when_the_version_was_taken_in(
    history: list[Event], data: st.DataObject
) -> None:
    store: Store[str] = Store()
    awaited = data.draw(st.sampled_from(history), label="own write").item
    for event in history:
        before = event.item.version < awaited.version
        deliver(store, event)
        if before:
            assert not store.has_seen(awaited.key, awaited.version)
    assert store.has_seen(awaited.key, awaited.version)


def test_an_object_that_became_unreadable_keeps_its_last_good_value() -> None:
    store: Store[str] = Store()
    key = Key("", "pool")
    broken = Item[str](key, "u1", 2, None, "spec.nodes: missing")
    store.put(Item(key, "u1", 1, "good"))
    store.put(broken)
    assert (contents(store), store.problems) == ({"good"}, {key: "spec.nodes: missing"})
    store.replace([broken], 3)
    assert contents(store) == {"good"}, "also over a list"
    store.put(Item(key, "u2", 4, None, "spec.nodes: missing"))
    assert contents(store) == set(), "but it is not the value of another object of that name"
    store.put(Item(key, "u2", 5, "mended"))
    assert (contents(store), store.problems) == ({"mended"}, {})
