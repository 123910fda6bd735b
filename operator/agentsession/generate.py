"""Writes what is derived from code into the repository: CRDs and RBAC, as manifests and as templates; the API's page.

python -m agentsession.generate [--check]
"""

import argparse
import copy
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from agentsession.api.reference import reference
from agentsession.api.schema import crds
from agentsession.resources import rbac

ROOT = Path(__file__).parents[2]
NOTICE = "Generated from code by `python -m agentsession.generate`. Do not edit."
CHART_NOTICE = f"{{{{- /* {NOTICE} */ -}}}}\n"
PLAIN_NOTICE = f"# {NOTICE}\n"
NAME, NAMESPACE = "agentsession", "agentsession-system"
"""Of the installation that the plain manifests describe."""

# Keys that a line of template code takes the place of, once the object is text.
COMMON_LABELS, KEEP = "COMMON_LABELS", "KEEP"
TEMPLATE_LINES = {
    f"    {COMMON_LABELS}: ''\n": '    {{- include "agentsession.labels" . | nindent 4 }}\n',
    f"  {KEEP}: ''\n": (
        "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
    ),
}


def outputs() -> dict[Path, str]:
    """Every generated file, by its path in the repository."""
    manifests, templates = Path("manifests"), Path("charts/agentsession/templates")
    return {
        **{manifests / "crds" / f"{_name(crd)}.yaml": PLAIN_NOTICE + _document(crd) for crd in crds()},
        **{
            manifests / "rbac" / f"{component}.yaml": PLAIN_NOTICE
            + "".join(_role_text(role, NAME, NAMESPACE) for role in roles)
            for component, roles in rbac.COMPONENTS.items()
        },
        Path("docs/api.md"): f"<!-- {NOTICE} -->\n{reference(crds())}",
        templates / "crds.yaml": _chart_crds(),
        templates / "rbac.yaml": _chart_rbac(),
    }


def _chart_crds() -> str:
    documents = ""
    for crd in crds():
        templated = copy.deepcopy(crd)
        templated["metadata"] |= {"labels": {COMMON_LABELS: ""}, KEEP: ""}
        # A description may show template syntax; Helm must print it, not run it.
        documents += _document(templated).replace("{{", '{{ "{{" }}')
    return f"{CHART_NOTICE}{{{{- if .Values.crds.enabled }}}}\n{_templated(documents)}{{{{- end }}}}\n"


def _chart_rbac() -> str:
    roles = (role for component in rbac.COMPONENTS.values() for role in component)
    text = (_role_text(role, "{{ .Release.Name }}", "{{ .Release.Namespace }}", COMMON_LABELS) for role in roles)
    return CHART_NOTICE + _templated("".join(text))


def _role_text(role: rbac.RoleSpec, name: str, namespace: str, *labels: str) -> str:
    """The objects of a role, each rule under the reason for it."""
    text = ""
    for made in rbac.objects(role, name, namespace):
        metadata = made["metadata"]
        if labels and isinstance(metadata, dict):
            made["metadata"] = {**metadata, "labels": {**dict.fromkeys(labels, ""), **metadata.get("labels", {})}}
        rules = made.pop("rules", [])
        text += _document(made)
        if isinstance(rules, list) and rules:
            text += "rules:\n"
            text += "".join(f"  # {row.why}\n{_indented([rule])}" for row, rule in zip(role.rules, rules, strict=True))
    return text


def _templated(text: str) -> str:
    for line, template in TEMPLATE_LINES.items():
        text = text.replace(line, template)
    return text


def _document(content: object) -> str:
    return "---\n" + yaml.safe_dump(content, sort_keys=False, width=120)


def _indented(content: object) -> str:
    text = yaml.safe_dump(content, sort_keys=False, width=120, default_flow_style=None)
    return "".join(f"  {line}\n" for line in text.splitlines())


def _name(obj: Mapping[str, Mapping[str, object]]) -> str:
    return str(obj["metadata"]["name"])


def drift(root: Path) -> str:
    """A unified diff from what the repository holds to what the code says; empty if they agree."""
    text = ""
    for path, wanted in outputs().items():
        file = root / path
        found = file.read_text() if file.exists() else ""
        lines = found.splitlines(keepends=True), wanted.splitlines(keepends=True)
        text += "".join(difflib.unified_diff(*lines, fromfile=str(path), tofile=f"{path} (generated)"))
    return text


def main() -> int:
    """Exit code 1 says that --check found a difference."""
    parser = argparse.ArgumentParser(
        prog="python -m agentsession.generate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; print what would change, and fail if anything"
    )
    if parser.parse_args().check:
        if difference := drift(ROOT):
            sys.stdout.write(difference)
            print("Generated files differ from the code: run `python -m agentsession.generate`.", file=sys.stderr)
            return 1
        return 0
    for path, text in outputs().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
