"""Games in two forms of the same rules: finite, with states on a grid, or with continuous states."""

import dataclasses
import functools
from typing import Any, ClassVar, Self

from mfenvs import checks
from mfenvs.game import Game


@dataclasses.dataclass(kw_only=True)
class TwoForms(Game):
    """A game that is made in one of several forms, by its constant ``states``.

    ``MyGame(states="continuous")`` is an instance of ``MyGame`` *and* of the class in ``forms["continuous"]``: a
    finite form can be a :class:`mfenvs.FiniteGame`, which the other one is not. What ``MyGame`` declares comes
    before what the form declares.

    The class of such an instance bears the name of ``MyGame``. It is made when it is needed, and games are pickled
    without it.
    """

    states: str
    """Form of the states, a key of ``forms``."""
    forms: ClassVar[dict[str, type[Game]]]
    """The class of each form, by the value of ``states``."""

    def __new__(cls, *positional: Any, **constants: Any) -> Self:
        """Make an instance of the form that is asked for."""
        asked = constants.get("states", cls.__dataclass_fields__["states"].default)
        if asked is dataclasses.MISSING:
            return object.__new__(cls)  # Python says in __init__ what is missing.
        form = _form(cls.declared_class(), checks.choice("states", asked, tuple(cls.forms)))
        if issubclass(form, cls):
            return object.__new__(form)  # type: ignore[no-any-return]  # Python goes on with __init__.
        # The class of the other form was called, as by dataclasses.replace(game, states=...).
        return form(*positional, **constants)  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[Any, ...]:
        return _without_init, (self.declared_class(), self.states), self.__dict__

    @property
    def kind(self) -> str:
        """The game's class and form in error messages."""
        return f"{type(self).__name__} with states={self.states!r}"

    @classmethod
    def declared_class(cls) -> Any:
        """The class that was declared, of which this one is a form."""
        return vars(cls).get("_declared", cls)


@functools.cache
def _form(declared: Any, states: str) -> Any:
    """The class of one form of a game."""
    for name, form in declared.forms.items():
        if issubclass(declared, form):
            if name != states:
                raise ValueError(f"{declared.__name__} has states={name!r} only, got {states!r}")
            return declared
    content = {
        "__module__": declared.__module__,
        "__qualname__": declared.__qualname__,
        "__doc__": declared.__doc__,
        "_declared": declared,
    }
    return type(declared.__name__, (declared, declared.forms[states]), content)


def _without_init(declared: Any, states: str) -> Any:
    """A game without constants, to which pickle gives those that it had."""
    return object.__new__(_form(declared, states))
