"""Classes that only hold values, made without compiling code for each of them.

:func:`plain` is ``dataclasses.dataclass`` and :class:`PlainTuple` is ``typing.NamedTuple`` to
whoever uses their classes, and to mypy.  The standard library writes a source text for every class
and compiles it: 0.8 ms and 0.15 ms each, a sixth of the time in which a command starts.  Here all
classes share the same few functions, and what only ``dataclasses`` and ``inspect`` ask for is made
when they do.  They stand in modules with ``from __future__ import annotations``.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, make_dataclass
from dataclasses import field as _field
from operator import itemgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from dataclasses import dataclass as plain
    from dataclasses import replace as changed
    from typing import NamedTuple as PlainTuple

__all__ = ["PlainTuple", "changed", "plain"]


class _Layout:
    """The fields of a plain class, in order: what the shared functions need to know."""

    __slots__ = ("fields", "frozen", "given", "kinds", "makers", "names", "own", "shown", "twin")

    def __init__(self, cls: Any, frozen: bool) -> None:
        self.frozen = frozen
        self.kinds: dict[str, Any] = {}
        """Name -> annotation."""
        self.fields: dict[str, Field[Any]] = {}
        """What ``dataclasses.field`` says of some."""
        self.given: dict[str, Any] = {}
        """Defaults."""
        self.makers: dict[str, Callable[[], Any]] = {}
        """What makes the default of an instance."""
        self.twin: type | None = None
        for base in cls.__mro__[:0:-1]:
            above = base.__dict__.get("__plain__")
            if above is not None:
                for own, its in zip(self._tables(), above._tables(), strict=True):
                    own.update(its)
        for name, kind in cls.__annotations__.items():
            if not str(kind).startswith("ClassVar"):
                for table in self._tables():
                    table.pop(name, None)
                self.kinds[name] = kind
                self._add_default(cls, name)
        self.names = tuple(self.kinds)
        self.own = frozenset(self.kinds)
        self.shown = [n for n in self.names if n not in self.fields or self.fields[n].repr]

    def _tables(self) -> tuple[dict[str, Any], ...]:
        return self.kinds, self.fields, self.given, self.makers

    def _add_default(self, cls: Any, name: str) -> None:
        value = cls.__dict__.get(name, MISSING)
        if isinstance(value, Field):
            self.fields[name] = value
            if value.default_factory is not MISSING:
                self.makers[name] = value.default_factory
            value = value.default
            delattr(cls, name)
        if value is not MISSING:
            self.given[name] = value
            setattr(cls, name, value)


class _OfTwin:
    """An attribute that is taken from the dataclass which the class would be otherwise."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, _value: object, owner: Any) -> Any:
        if self.name == "__signature__" and owner.__init__ is not _init:
            raise AttributeError(self.name)  # of a class below, which inspect looks at itself
        layout = owner.__plain__
        if layout.twin is None:
            fields = [
                (name, kind, layout.fields.get(name) or _field(default=layout.given[name]))
                if name in layout.fields or name in layout.given
                else (name, kind)
                for name, kind in layout.kinds.items()
            ]
            layout.twin = make_dataclass(owner.__name__, fields, frozen=layout.frozen)
        if self.name == "__signature__":
            from inspect import signature

            return signature(layout.twin)
        return getattr(layout.twin, self.name)


def _init(self: Any, /, *values: Any, **named: Any) -> None:
    layout = type(self).__plain__
    own = self.__dict__
    own.update(layout.given)
    own.update(zip(layout.names, values, strict=False))
    own.update(named)
    for name, make in layout.makers.items():
        if name not in own:
            own[name] = make()
    twice = not named.keys().isdisjoint(layout.names[: len(values)]) if values and named else False
    if own.keys() != layout.own or len(values) > len(layout.names) or twice:
        raise TypeError(_wrong(type(self), layout.names, own, values, named))


def _wrong(cls: Any, names: tuple[str, ...], own: Any, values: Any, named: Any) -> str:
    """What is wrong with the arguments of a class with these fields."""
    if len(values) > len(names):
        return f"{cls.__name__} has {len(names)} fields, and {len(values)} values were given"
    for name in named:
        if name not in names:
            return f"{cls.__name__} has no field {name!r}"
        if name in names[: len(values)]:
            return f"{cls.__name__}: {name!r} is given twice"
    lacking = ", ".join(name for name in names if name not in own)
    return f"{cls.__name__} needs a value for: {lacking}"


@recursive_repr()
def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).__plain__.shown)
    return f"{type(self).__qualname__}({shown})"


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in type(self).__plain__.names)


def _eq(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _set(self: Any, name: str, value: object) -> None:
    _refuse(type(self), name)
    object.__setattr__(self, name, value)


def _delete(self: Any, name: str) -> None:
    _refuse(type(self), name)
    object.__delattr__(self, name)


def _refuse(cls: Any, name: str) -> None:
    """Only what somebody's own class below a frozen one has besides may change."""
    if "__plain__" in cls.__dict__ or name in cls.__plain__.own:
        raise FrozenInstanceError(f"{cls.__name__}.{name} is not changed: make another one")


if not TYPE_CHECKING:

    def plain(cls=None, /, *, frozen=False):
        """``dataclasses.dataclass``, of which it takes ``frozen``; the class has a ``__dict__``."""
        if cls is None:
            return lambda cls: plain(cls, frozen=frozen)
        cls.__plain__ = _Layout(cls, frozen)
        cls.__init__ = _init
        cls.__replace__ = changed  # what copy.replace calls, from Python 3.13 on
        cls.__match_args__ = cls.__plain__.names
        for name in ("__dataclass_fields__", "__dataclass_params__", "__signature__"):
            setattr(cls, name, _OfTwin(name))
        for name, function in (("__repr__", _repr), ("__eq__", _eq)):
            if name not in cls.__dict__:
                setattr(cls, name, function)
        if cls.__dict__.get("__hash__") is None:
            cls.__hash__ = _hash if frozen else None
        if frozen:
            cls.__setattr__, cls.__delattr__ = _set, _delete
        return cls

    def changed(value, /, **named):
        """``dataclasses.replace`` for an instance of a plain class."""
        cls = type(value)
        if not cls.__plain__.own >= named.keys():
            raise TypeError(_wrong(cls, cls.__plain__.names, value.__dict__, (), named))
        made = cls.__new__(cls)
        made.__dict__.update(value.__dict__, **named)
        return made


def _new(cls: Any, /, *values: Any, **named: Any) -> Any:
    names, defaults = cls._fields, cls._defaults
    left = len(names) - len(values)
    if named or not 0 <= left <= len(defaults):
        own = {**cls._field_defaults, **dict(zip(names, values, strict=False)), **named}
        twice = not named.keys().isdisjoint(names[: len(values)])
        if len(own) != len(names) or own.keys() - names or len(values) > len(names) or twice:
            raise TypeError(_wrong(cls, names, own, values, named))
        values = tuple(map(own.__getitem__, names))
    elif left:
        values += defaults[-left:]
    return tuple.__new__(cls, values)


def _make(cls: Any, values: Iterable[Any]) -> Any:
    """A new one from an iterable of all values."""
    made = tuple.__new__(cls, values)
    if len(made) != len(cls._fields):
        raise TypeError(_wrong(cls, cls._fields, cls._fields[: len(made)], made, {}))
    return made


def _replace(self: Any, /, **named: Any) -> Any:
    """A new one with other values for the fields that are named."""
    made = tuple.__new__(type(self), map(named.pop, self._fields, self))
    if named:
        raise ValueError(f"{type(self).__name__} has no field {next(iter(named))!r}")
    return made


def _asdict(self: Any) -> dict[str, Any]:
    """Field name -> value."""
    return dict(zip(self._fields, self, strict=True))


def _show(self: Any) -> str:
    shown = ", ".join(f"{n}={value!r}" for n, value in zip(self._fields, self, strict=True))
    return f"{type(self).__name__}({shown})"


def _arguments(self: Any) -> tuple[Any, ...]:
    """For copies and pickles."""
    return tuple(self)


class _Arguments:
    """The signature of a plain tuple, for ``help()`` and whoever else asks ``inspect`` for it."""

    def __init__(self, kinds: dict[str, Any], given: dict[str, Any]) -> None:
        self.kinds, self.given = kinds, given

    def __get__(self, _value: object, _owner: Any) -> Any:
        from inspect import Parameter, Signature

        kind, empty = Parameter.POSITIONAL_OR_KEYWORD, Parameter.empty
        return Signature(
            [
                Parameter(name, kind, default=self.given.get(name, empty), annotation=annotation)
                for name, annotation in self.kinds.items()
            ]
        )


_OF_TUPLE = {
    "__new__": _new,
    "_make": classmethod(_make),
    "_replace": _replace,
    "__replace__": _replace,
    "_asdict": _asdict,
    "__repr__": _show,
    "__getnewargs__": _arguments,
    "__slots__": (),
}


class _TupleMeta(type):
    """Makes a tuple of the class statement below :class:`PlainTuple`."""

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(mcs, name, bases, space)
        kinds = space.get("__annotations__", {})
        names = tuple(kinds)
        given = {n: space[n] for n in names if n in space}
        if names[len(names) - len(given) :] != tuple(given):
            raise TypeError(f"{name}: a field without a default stands behind one that has one")
        space["_fields"] = space["__match_args__"] = names
        space["_field_defaults"], space["_defaults"] = given, tuple(given.values())
        space["__signature__"] = _Arguments(kinds, given)
        getters = {n: property(itemgetter(i)) for i, n in enumerate(names)}
        return type(name, (tuple,), {**_OF_TUPLE, **space, **getters})


if not TYPE_CHECKING:

    class PlainTuple(metaclass=_TupleMeta):
        """``typing.NamedTuple``."""
