"""Compilation of rules, which other compiled code takes into itself.

numba makes of every compiled function machine code of its own, and wrappers by which Python and C can call it.
A kernel inlines the rules that it reaches, some forty in a market, and needs none of that: here a rule is compiled
as far as a kernel needs it, and as a whole function only when Python calls it. This halves the time that a game's
kernels take to compile, and does not change what they compute.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import numba
from numba.core import codegen, compiler, dispatcher, registry

from mfenvs.engine.fingerprint import CompilationRecord

# Parts of numba that declare no types.
CPUDispatcher: Any = registry.CPUDispatcher
FunctionCompiler: Any = dispatcher._FunctionCompiler  # type: ignore[attr-defined]
JITCodeLibrary: Any = codegen.JITCodeLibrary
Flags: Any = compiler.Flags


class RuleDispatcher(CPUDispatcher):  # type: ignore[misc]
    """A function that compiled code inlines.

    Parameters
    ----------
    py_func:
        The Python function.
    locals:
        Types of its local variables, as numba takes them.
    targetoptions:
        The compiler's options.
    """

    def __init__(
        self,
        py_func: Callable[..., Any],
        locals: dict[str, Any] | None = None,
        targetoptions: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(py_func, locals or {}, targetoptions or {})
        self._cache = CompilationRecord(py_func)
        self._compiler = _RuleCompiler(
            py_func, self.targetdescr, self.targetoptions, self.locals, compiler.Compiler
        )

    def add_overload(self, cres: Any) -> None:
        """Keep code that other compiled code can inline; Python cannot call it."""
        self.overloads[tuple(cres.signature.args)] = cres

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        """Compile and call the whole function, when Python calls the rule."""
        return self._for_python

    @functools.cached_property
    def _for_python(self) -> Any:
        options = {name: value for name, value in self.targetoptions.items() if name != "nopython"}
        # A copy of the function: numba would take a recursive rule for one that is already being compiled.
        original = self.py_func
        scope = original.__globals__, original.__name__, original.__defaults__, original.__closure__
        function = types.FunctionType(original.__code__, *scope)
        function.__kwdefaults__, function.__module__ = original.__kwdefaults__, original.__module__
        function.__qualname__ = original.__qualname__
        return numba.njit(**options)(function)


class _RuleCompiler(FunctionCompiler):  # type: ignore[misc]
    def _compile_core(self, args: Any, return_type: Any) -> Any:
        flags = Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions)
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        context = self.targetdescr.target_context
        library = _RuleLibrary(context.codegen(), self.py_func.__qualname__)
        compile_extra: Any = compiler.compile_extra
        result = compile_extra(
            self.targetdescr.typing_context,
            context,
            self.py_func,
            args=args,
            return_type=return_type,
            flags=flags,
            locals=self.locals,
            library=library,
            pipeline_class=self.pipeline_class,
        )
        key = _CalledByCodeOnly()
        context.insert_user_function(key, result.fndesc, [library])
        return result._replace(entry_point=key)


class _CalledByCodeOnly:
    """Placeholder for the wrapper by which Python would call the code."""


class _RuleLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that is linked into other code, which optimises it there, and never made machine code by itself."""

    def _optimize_final_module(self) -> None:
        """Do nothing: the kernel's module is optimised as a whole.

        The earlier optimisation of each function by itself is needed: without it kernels are up to four times
        slower.
        """

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True
