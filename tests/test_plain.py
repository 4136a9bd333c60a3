"""Plain classes are what ``dataclasses`` and ``typing.NamedTuple`` would have made of them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import field
from typing import Any, ClassVar, NamedTuple

import pytest

from fputrace.plain import PlainTuple, changed, plain


@plain
class Ours:
    """A value."""

    first: int
    second: str = "two"
    many: list[int] = field(default_factory=list)
    hidden: int = field(default=4, repr=False)
    shared: ClassVar[int] = 5

    @property
    def twice(self) -> int:
        return 2 * self.first


@dataclasses.dataclass
class Theirs:
    """A value."""

    first: int
    second: str = "two"
    many: list[int] = field(default_factory=list)
    hidden: int = field(default=4, repr=False)
    shared: ClassVar[int] = 5


@plain(frozen=True)
class Fixed:
    first: int
    second: str = "two"


@plain(frozen=True)
class More(Fixed):
    third: int = 3


@plain(frozen=True)
class Given:
    first: int

    def __repr__(self) -> str:
        return "own"

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7


class OurPair(PlainTuple):
    """A pair."""

    left: int
    right: str = "r"

    @property
    def both(self) -> str:
        return f"{self.left}{self.right}"

    def __str__(self) -> str:
        return super().__str__() + "!"


class TheirPair(NamedTuple):
    """A pair."""

    left: int
    right: str = "r"


def made(cls: Any, *values: Any, **named: Any) -> Any:
    """An instance, its fields, or that it cannot be made."""
    try:
        value: Any = cls(*values, **named)
    except TypeError:
        return TypeError
    return tuple(value) if isinstance(value, tuple) else dataclasses.asdict(value)


ARGUMENTS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    ((), {}),
    ((1,), {}),
    ((1, "b"), {}),
    ((1,), {"second": "b", "right": "b"}),
    ((1,), {"second": "b"}),
    ((1,), {"right": "b"}),
    ((), {"first": 1}),
    ((), {"left": 1}),
    ((), {"second": "b"}),
    ((), {"right": "b"}),
    ((1,), {"first": 2}),
    ((1,), {"left": 2}),
    ((1, "b", [3], 4), {}),
    ((1, "b", [3], 4, 5), {}),
    ((1, "b", [3]), {"hidden": 9}),
    ((1,), {"unknown": 9}),
    ((), {"unknown": 9}),
)


@pytest.mark.parametrize(("values", "named"), ARGUMENTS)
def test_arguments_are_taken_and_refused_alike(
    values: tuple[Any, ...], named: dict[str, Any]
) -> None:
    assert made(Ours, *values, **named) == made(Theirs, *values, **named)
    assert made(OurPair, *values, **named) == made(TheirPair, *values, **named)


@pytest.mark.parametrize(
    ("cls", "values", "named", "said"),
    [
        (Ours, (), {}, "Ours needs a value for: first"),
        (Ours, (1,), {"other": 2}, "Ours has no field 'other'"),
        (Ours, (1,), {"first": 2}, "Ours: 'first' is given twice"),
        (OurPair, (1, "", 3), {}, "OurPair has 2 fields, and 3 values were given"),
        (OurPair._make, ([1],), {}, "OurPair needs a value for: right"),
    ],
)
def test_what_is_wrong_is_said(
    cls: Any, values: tuple[Any, ...], named: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        cls(*values, **named)


def test_a_plain_class_is_a_dataclass_to_whoever_asks() -> None:
    ours: Any = Ours(1, many=[2])
    theirs: Any = Theirs(1, many=[2])
    assert (
        repr(ours)
        == repr(theirs).replace("Theirs", "Ours")
        == "Ours(first=1, second='two', many=[2])"
    )
    assert dataclasses.is_dataclass(Ours)
    assert [f.name for f in dataclasses.fields(Ours)] == [
        f.name for f in dataclasses.fields(Theirs)
    ]
    assert dataclasses.replace(ours, first=3) == Ours(3, many=[2]) != ours
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert str(inspect.signature(Ours)) == str(inspect.signature(Theirs))
    assert Ours.__match_args__ == Theirs.__match_args__
    assert Ours(1).many is not Ours(1).many
    assert Ours.second == Theirs.second and not hasattr(Ours, "many")
    assert ours.twice == 2 and Ours.shared == 5
    assert ours != theirs
    with pytest.raises(TypeError, match="unhashable"):
        hash(ours)
    for again in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert again == ours


def test_a_changed_one_is_another_one() -> None:
    ours: Any = Ours(1, many=[2])
    assert changed(ours, first=3) == dataclasses.replace(ours, first=3) != ours
    assert ours.__replace__(first=3) == changed(ours, first=3)
    assert changed(More(1), third=4) == More(1, "two", 4)
    with pytest.raises(TypeError, match="Ours has no field 'other'"):
        changed(ours, other=1)


def test_frozen_ones_stay_as_they_are_and_inherit() -> None:
    fixed: Any = More(1, third=4)
    assert (fixed.first, fixed.second, fixed.third) == (1, "two", 4)
    assert dataclasses.replace(fixed, second="b") == More(1, "b", 4)
    assert fixed != Fixed(1) and hash(fixed) == hash(More(1, "two", 4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        fixed.first = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del fixed.first
    assert pickle.loads(pickle.dumps(fixed)) == fixed
    assert (repr(Given(1)), Given(1) == Given(2), hash(Given(1))) == ("own", True, 7)


def test_somebody_s_own_class_below_a_plain_one() -> None:
    class Counting(Fixed):
        def __init__(self, first: int) -> None:
            super().__init__(first)
            self.asked = 0
            self.asked += 1
            self.spare = 1
            del self.spare

    @dataclasses.dataclass(frozen=True)
    class Longer(Fixed):
        third: int = 3

    counting: Any = Counting(1)
    assert (counting.first, counting.asked, hasattr(counting, "spare")) == (1, 1, False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        counting.first = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del counting.second
    assert list(inspect.signature(Counting).parameters) == ["first"]
    assert dataclasses.asdict(Longer(1)) == {"first": 1, "second": "two", "third": 3}
    assert list(inspect.signature(Longer).parameters) == ["first", "second", "third"]


def test_defaults_stand_behind() -> None:
    kind: Any = type(PlainTuple)
    space = {"__annotations__": {"a": "int", "b": "int"}, "a": 1, "__module__": __name__}
    with pytest.raises(TypeError, match="Odd: a field without a default"):
        kind("Odd", (PlainTuple,), space)


def test_a_plain_tuple_is_a_named_tuple() -> None:
    ours: Any = OurPair(1)
    theirs: Any = TheirPair(1)
    with pytest.raises(ValueError, match="OurPair has no field 'x'"):
        ours._replace(x=2)
    assert (ours == theirs, ours == (1, "r"), type(ours).__mro__[1]) == (True, True, tuple)
    assert repr(ours) == repr(theirs).replace("Their", "Our")
    assert str(ours) == repr(ours) + "!"
    assert str(inspect.signature(OurPair)) == "(left: 'int', right: 'str' = 'r')"
    assert (ours._asdict(), ours._fields, ours._field_defaults) == (
        theirs._asdict(),
        theirs._fields,
        theirs._field_defaults,
    )
    assert ours._replace(right="x") == OurPair(1, "x") == OurPair._make([1, "x"])
    assert type(ours._replace(left=2)) is OurPair
    assert (OurPair.__doc__, OurPair.__module__, OurPair.__qualname__) == (
        "A pair.",
        __name__,
        "OurPair",
    )
    left, right = ours
    assert (left, right, ours.both, ours.right) == (1, "r", "1r", "r")
    match ours:
        case OurPair(first, second):
            assert (first, second) == (1, "r")
    with pytest.raises(AttributeError):
        ours.left = 2
    assert not hasattr(ours, "__dict__")
    for again in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert again == ours and type(again) is OurPair
    assert len({OurPair(1), OurPair(1), OurPair(2)}) == 2
