"""The reasons that the code gives to conditions, read from its syntax: where a Trouble or a Mark is made."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import get_args

import agentsession.pools
import agentsession.runners
import agentsession.sessions
import agentsession.tenants
from agentsession.api.report import CredentialState

POSITION = {"Trouble": 0, "Mark": 2, "_waiting": 0, "_never": 0}
"""Which argument of these calls is a reason."""
CHOOSERS = {"_containment"}
"""Functions that choose among reasons: each text without a space in them is one."""


def of_sessions() -> set[str]:
    """The reasons of an AgentSession."""
    packages = agentsession.sessions, agentsession.runners
    return {reason for package in packages for module in _modules(package) for reason in _reasons(module)}


def of_pools() -> set[str]:
    """The reasons of an AgentPool, but for those that it shares with sessions."""
    return {reason for module in _modules(agentsession.pools) for reason in _reasons(module)}


def of_tenants() -> set[str]:
    """The reasons of an AgentTenant: its own, and what the egress plane says of the credential."""
    # Unknown is shown as CredentialPending.
    own = {reason for module in _modules(agentsession.tenants) for reason in _reasons(module)}
    return own | set(get_args(CredentialState)) - {"Unknown"}


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def _reasons(module: ModuleType) -> Iterator[str]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        match node:
            case ast.Call(func=ast.Name(id=name), args=args) if name in POSITION and len(args) > POSITION[name]:
                yield from _value(args[POSITION[name]], module)
            case ast.FunctionDef(name=name) if name in CHOOSERS:
                texts = [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
                yield from (text for text in texts if isinstance(text, str) and text and " " not in text)


def _value(node: ast.expr, module: ModuleType) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(reason)):
            yield reason
        case ast.Name(id=name) if name.isupper():
            yield getattr(module, name)
