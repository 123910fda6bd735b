"""Runs the pinned Helm on the chart."""

import functools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from devcluster import binaries

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "agentsession"
VALUES = Path(__file__).parent / "values"
RELEASE, NAMESPACE = "agentsession", "agentsession-system"
TENANT_API = "agentsession.io/v1alpha1/AgentTenant"

Values = Mapping[str, Any]
Manifest = dict[str, Any]


@functools.cache
def program() -> str:
    return str(binaries.resolve(["helm"])["helm"])


def helm(*arguments: str | Path, values: Values | None = None) -> subprocess.CompletedProcess[str]:
    """Runs it to its end; `values` go in by stdin."""
    command = [program(), *map(str, arguments), *(["--values", "-"] if values is not None else [])]
    return subprocess.run(
        command,
        input=yaml.safe_dump(values) if values else "",
        env={**os.environ, "GOGC": "off"},  # it does not live long enough for a collection to be worth its while
        capture_output=True,
        text=True,
        check=False,
    )


def template(
    values: Values | None = None, *arguments: str, api_versions: tuple[str, ...] = (TENANT_API,)
) -> subprocess.CompletedProcess[str]:
    """`helm template` as an upgrade would: the CRDs are there, unless `api_versions` says otherwise."""
    apis = [f"--api-versions={api}" for api in api_versions]
    return helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *apis, *arguments, values=values)


def render(values: Values | None = None, *, api_versions: tuple[str, ...] = (TENANT_API,)) -> list[Manifest]:
    """The rendered objects."""
    done = template(values, api_versions=api_versions)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document]


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The object of that kind and name."""
    (found,) = (m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def values_of(name: str) -> Manifest:
    """A values file of the tests; `default` is the chart's own."""
    path = CHART / "values.yaml" if name == "default" else VALUES / f"{name}.yaml"
    loaded: Manifest = yaml.safe_load(path.read_text())
    return loaded
