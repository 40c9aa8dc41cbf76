"""VMs that no VMNode claims: reported at once, removed late, one at a time, or not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plimsoll.decide.orphans import AT_ONCE, Claim, Verdict, orphans
from plimsoll.world.vms import PowerState, VmInfo

NOW, GRACE = 1_000_000.0, 600.0


def vm(number: int, owner: str = "", *, age: float = 10_000.0, **fields: object) -> VmInfo:
    values: dict[str, object] = {
        "uuid": f"vm-{number}",
        "name": f"a-{number}",
        "owner_uid": owner or f"uid-{number}",
        "cluster": "ours",
        "host": "h",
        "power": PowerState.RUNNING,
        "cpu": 2,
        "memory": 1,
        "provider_id": "",
        "created": NOW - age,
    }
    return VmInfo(**values | fields)  # type: ignore[arg-type]


def claim(number: int, identity: str = "") -> Claim:
    return Claim(uid=f"uid-{number}", name=f"a-{number}", identity=identity)


def uuids(vms: tuple[VmInfo, ...]) -> list[str]:
    return [vm.uuid for vm in vms]


def look(vms: list[VmInfo], claims: list[Claim], before: Verdict, now: float = NOW) -> Verdict:
    return orphans(vms, claims, before.first_seen, now, GRACE)


def test_claimed_vms_are_no_orphans() -> None:
    verdict = look([vm(1), vm(2)], [claim(1, "vm-1"), claim(2)], Verdict())
    assert verdict == Verdict()


def test_an_orphan_is_reported_first_and_removed_after_the_grace_period() -> None:
    fleet, claims = [vm(n) for n in range(1, 5)], [claim(n) for n in range(2, 5)]
    first = look(fleet, claims, Verdict())
    assert (uuids(first.orphans), first.remove) == (["vm-1"], ())
    soon = look(fleet, claims, first, NOW + GRACE - 1)
    assert (uuids(soon.orphans), soon.remove) == (["vm-1"], ())
    late = look(fleet, claims, soon, NOW + GRACE)
    assert uuids(late.remove) == ["vm-1"]


def test_one_that_was_claimed_in_between_waits_anew() -> None:
    first = look([vm(1)], [], Verdict())
    claimed = look([vm(1)], [claim(1)], first, NOW + 300)
    again = look([vm(1)], [], claimed, NOW + GRACE)
    assert (uuids(again.orphans), again.remove) == (["vm-1"], ())


def test_a_young_vm_is_not_removed_however_long_it_was_seen() -> None:
    before = Verdict(first_seen={"vm-1": NOW - GRACE})
    assert look([vm(1, age=GRACE - 1)], [], before).remove == ()


def test_a_vm_that_is_being_deleted_is_no_orphan() -> None:
    assert look([vm(1, power=PowerState.DELETING)], [], Verdict()).orphans == ()


def test_the_second_vm_of_a_vmnode_is_an_orphan_once_the_first_is_its_identity() -> None:
    twins = [vm(1), vm(2, "uid-1")]
    assert look(twins, [claim(1)], Verdict()).orphans == ()
    assert uuids(look(twins, [claim(1, "vm-1")], Verdict()).orphans) == ["vm-2"]


def test_too_many_orphans_halt_the_removal() -> None:
    fleet = [vm(n) for n in range(12)]
    seen = Verdict(first_seen={v.uuid: NOW - GRACE for v in fleet})
    three = look(fleet, [claim(n) for n in range(3, 12)], seen)
    assert len(three.orphans) == 3
    assert (len(three.remove), three.halted) == (1, "")
    four = look(fleet, [claim(n) for n in range(4, 12)], seen)
    assert len(four.orphans) == 4
    assert four.remove == ()
    assert "4 of 12 VMs" in four.halted


@given(
    owners=st.lists(st.integers(0, 9), max_size=30),
    claimed=st.sets(st.integers(0, 9)),
    seen=st.dictionaries(st.integers(0, 29), st.floats(0, 2 * GRACE)),
)
def test_what_is_removed_is_unclaimed_old_and_little(
    owners: list[int], claimed: set[int], seen: dict[int, float]
) -> None:
    fleet = [vm(n, f"uid-{owner}") for n, owner in enumerate(owners)]
    before = Verdict(first_seen={f"vm-{n}": NOW - age for n, age in seen.items()})
    verdict = look(fleet, [claim(n) for n in claimed], before)
    assert len(verdict.remove) <= AT_ONCE
    for removed in verdict.remove:
        assert int(removed.owner_uid.removeprefix("uid-")) not in claimed
        assert before.first_seen[removed.uuid] <= NOW - GRACE
    assert set(verdict.first_seen) == set(uuids(verdict.orphans))
    assert not (verdict.halted and verdict.remove)
