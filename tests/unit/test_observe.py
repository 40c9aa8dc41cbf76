"""What the operator learns by watching: failed launches, circles, conflicts, new nodes."""

from __future__ import annotations

from typing import Any

from plimsoll.api import ContainerWorkload, VMNode
from plimsoll.decide.plan import Lever, Move, Plan
from plimsoll.observe.backoff import FIRST_SECONDS, HOST_TIMES, MOST_SECONDS, LaunchBackoff
from plimsoll.observe.circles import STILL_SECONDS, Circles
from plimsoll.observe.conflicts import Conflicts
from plimsoll.observe.evictions import WINDOW_SECONDS, Evictions
from plimsoll.observe.newcomers import Newcomers
from plimsoll.world.snapshot import Pod, PodShape, Resources, Snapshot, Workload


def vmnode(uid: str = "u1", host: str = "h1", **status: Any) -> VMNode:
    return VMNode.model_validate(
        {
            "metadata": {"name": uid, "uid": uid},
            "spec": {
                "pool": "web",
                "hypervisor": "rack",
                "host": host,
                "size": {"cpu": 2, "memory": "4Gi"},
                "template": {},
            },
            "status": {"phase": "Creating", **status},
        }
    )


class TestLaunchBackoff:
    def test_nothing_is_blocked_while_launches_do_not_fail(self) -> None:
        backoff = LaunchBackoff()
        assert backoff.observe([vmnode()], 0.0) == {}
        assert backoff.observe([vmnode(phase="Ready")], 1.0) == {}

    def test_each_failure_doubles_the_pause_of_pool_and_host(self) -> None:
        backoff = LaunchBackoff()
        backoff.observe([vmnode()], 0.0)
        first = backoff.observe([vmnode(failures=1)], 100.0)
        assert first == {
            "web": 100.0 + FIRST_SECONDS,
            "rack/h1": 100.0 + HOST_TIMES * FIRST_SECONDS,
        }
        second = backoff.observe([vmnode(failures=2)], 200.0)
        assert second == {
            "web": 200.0 + 2 * FIRST_SECONDS,
            "rack/h1": 200.0 + HOST_TIMES * 2 * FIRST_SECONDS,
        }

    def test_another_host_is_not_blocked_but_the_pool_is(self) -> None:
        backoff = LaunchBackoff()
        blocked = backoff.observe([vmnode("u1", failures=1), vmnode("u2", host="h2")], 0.0)
        assert set(blocked) == {"web", "rack/h1"}

    def test_the_pause_has_an_upper_end(self) -> None:
        backoff = LaunchBackoff()
        for failures in range(1, 30):
            blocked = backoff.observe([vmnode(failures=failures)], 0.0)
        assert blocked["web"] == MOST_SECONDS

    def test_a_success_forgets_the_failures(self) -> None:
        backoff = LaunchBackoff()
        backoff.observe([vmnode(failures=3)], 0.0)
        assert backoff.observe([vmnode(phase="Ready")], 1.0) == {}
        again = backoff.observe([vmnode(phase="Ready"), vmnode("u2", failures=1)], 2.0)
        assert again["web"] == 2.0 + FIRST_SECONDS

    def test_a_launch_that_vanishes_has_failed_unless_it_was_asked_to_leave(self) -> None:
        backoff = LaunchBackoff()
        backoff.observe([vmnode()], 0.0)
        assert "web" in backoff.observe([], 1.0)

        wished = LaunchBackoff()
        leaving = vmnode().model_copy(
            update={"metadata": vmnode().metadata.model_copy(update={"deletion_timestamp": "t"})}
        )
        wished.observe([leaving], 0.0)
        assert wished.observe([], 1.0) == {}

    def test_after_a_restart_failures_on_record_count_once(self) -> None:
        assert "web" in LaunchBackoff().observe([vmnode(failures=5)], 0.0)


class TestCircles:
    windows = {"web": 60.0}

    def turn(self, circles: Circles, lever: Lever, at: float) -> frozenset[str]:
        return circles.observe([("web", lever)], self.windows, at)

    def test_out_and_in_twice_within_the_window_stops_the_pool(self) -> None:
        circles = Circles()
        for at, lever in ((0, Lever.LAUNCH), (10, Lever.RETIRE), (20, Lever.LAUNCH)):
            assert not self.turn(circles, lever, at)
        assert self.turn(circles, Lever.RETIRE, 30) == {"web"}
        assert circles.observe((), self.windows, 30 + STILL_SECONDS - 1) == {"web"}
        assert not circles.observe((), self.windows, 30 + STILL_SECONDS + 1)

    def test_many_launches_and_many_retirements_are_no_circle(self) -> None:
        circles = Circles()
        for at in range(5):
            self.turn(circles, Lever.LAUNCH, at)
        for at in range(5, 10):
            assert not self.turn(circles, Lever.RETIRE, at)

    def test_a_load_that_comes_and_goes_slowly_is_no_circle(self) -> None:
        circles = Circles()
        levers = [Lever.LAUNCH, Lever.RETIRE] * 4
        for number, lever in enumerate(levers):
            assert not self.turn(circles, lever, number * 30.0)

    def test_pools_do_not_answer_for_each_other(self) -> None:
        circles = Circles()
        windows = {"a": 60.0, "b": 60.0}
        for pool, lever in (
            ("a", Lever.LAUNCH),
            ("b", Lever.RETIRE),
            ("a", Lever.LAUNCH),
            ("b", Lever.RETIRE),
        ):
            assert not circles.observe([(pool, lever)], windows, 0.0)


def test_a_conflict_is_left_alone_for_a_while_and_then_tried_again() -> None:
    conflicts = Conflicts(retry=30.0)
    conflicts.found("shop/httpd", "kubectl owns it", 100.0)
    assert conflicts.texts(129.0) == {"shop/httpd": "kubectl owns it"}
    assert conflicts.texts(131.0) == {}


def test_a_node_is_restless_when_it_is_new_and_when_its_pods_change() -> None:
    newcomers = Newcomers()
    assert newcomers.quiet_since(["a"], {}, 100.0) == {"a": 100.0}
    assert newcomers.quiet_since(["a", "b"], {"a": 150.0}, 200.0) == {"a": 150.0, "b": 200.0}
    newcomers.quiet_since(["b"], {}, 300.0)
    assert newcomers.quiet_since(["a"], {}, 400.0) == {"a": 400.0}, "it is another node by now"


class TestEvictions:
    snapshot = Snapshot(
        workloads=(
            Workload(
                namespace="shop",
                name="httpd",
                replicas=2,
                spec=ContainerWorkload.model_validate(
                    {
                        "metadata": {"name": "httpd"},
                        "spec": {
                            "targetRef": {"kind": "Deployment", "name": "httpd"},
                            "scaleOut": {"max": 9},
                        },
                    }
                ).spec,
            ),
        ),
        pods=(
            Pod(
                namespace="shop",
                name="a",
                uid="1",
                node="web-1",
                workload="shop/httpd",
                shape=PodShape(key="k", namespace="shop", labels={}, requests=Resources()),
            ),
        ),
    )
    move = Move(kind=Lever.MOVE, subject="pod/shop/a", reason="spread")
    grow = Move(kind=Lever.GROW, subject="vm/web-1", reason="load")

    def test_moves_that_do_not_help_are_stopped_and_others_are_not(self) -> None:
        evictions = Evictions()
        plan = Plan(moves=(self.grow, self.move))
        for at in range(7):
            held, circling = evictions.hold(plan, self.snapshot, float(at))
            assert (held, circling) == (plan, [])
            evictions.made(held.moves, self.snapshot, float(at))
        held, circling = evictions.hold(plan, self.snapshot, 7.0)
        assert circling == ["shop/httpd"]
        assert [bool(move.deferred) for move in held.moves] == [False, True]

        later, circling = evictions.hold(plan, self.snapshot, 7.0 + WINDOW_SECONDS)
        assert (later, circling) == (plan, [])
