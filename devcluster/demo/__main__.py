"""`make demo`: from nothing to answers of real agents. Can be run again at any time."""

import argparse
import os
import signal
import sys
from pathlib import Path

from devcluster import cluster, images, install, progress, project, settings
from devcluster.demo import scene
from devcluster.demo.follow import Session, follow
from devcluster.errors import DevclusterError
from devcluster.kubectl import kubectl

SECONDS = 300.0
ANSWER, CONVERSATION = f"{scene.TEAM_A}/answer", f"{scene.TEAM_A}/conversation"
TOOL, WRONG = f"{scene.TEAM_B}/tool", f"{scene.TEAM_B}/wrong"

FOREIGN = """\
Your cluster must be able to pull three images. Build and hand them over, for example:
  docker build -t REPO/operator:dev -f Dockerfile.operator .
  docker build -t REPO/runner:dev   -f Dockerfile.runner .
  docker build -t REPO/scripted:dev -f devcluster/scripted/Dockerfile --build-arg BASE_IMAGE=REPO/operator:dev .
  kind:  kind load docker-image REPO/operator:dev REPO/runner:dev REPO/scripted:dev
  k3d:   k3d image import REPO/operator:dev REPO/runner:dev REPO/scripted:dev
  cloud: docker push each of them to a registry that the cluster may pull from
Then: make demo CLUSTER=current IMAGES=REPO TAG=dev
The cluster's network plugin must enforce NetworkPolicy (flannel alone does not): else sessions say NotContained."""


def main() -> int:
    """The command line; 1 means that something failed and was said."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.demo", description=__doc__)
    parser.add_argument("action", nargs="?", choices=["up", "down"], default="up", help="down ends it (default: up)")
    parser.add_argument(
        "--cluster", choices=["dev", "current"], default="dev", help="dev: one of its own; current: yours"
    )
    parser.add_argument("--images", default="", help="with --cluster current: repository prefix of the three images")
    parser.add_argument("--tag", default="dev", help="with --cluster current: their tag (default: %(default)s)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.action == "down":
            return _down()
        if arguments.cluster == "current":
            return _current(arguments.images, arguments.tag)
        return _dev()
    except DevclusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run it again to go on, or end it: make demo-down", file=sys.stderr)
        return 130


def _dev() -> int:
    made = cluster.up(settings.state_dir())
    built = project.build(project.DOCKERFILES)
    for image in built.values():
        images.load(image)
    references = {name: image.reference for name, image in built.items()}
    _show(made.kubeconfig, references, install.SMALL)
    print(f"\nThe cluster is still up. Use it:\n  export KUBECONFIG={made.kubeconfig}\n  kubectl get agentsessions -A")
    print("End it:\n  make demo-down")
    return 0


def _current(repository: str, tag: str) -> int:
    kubeconfig = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube" / "config"))
    if not kubeconfig.is_file():
        raise DevclusterError(f"KUBECONFIG: {kubeconfig} is not a file; name one file, not a list")
    if not repository:
        raise DevclusterError(f"IMAGES is missing.\n{FOREIGN}")
    _refuse_to_replace(kubeconfig)
    context = kubectl(kubeconfig, "config", "current-context").strip()
    namespaces = ", ".join([install.NAMESPACE, *scene.SESSIONS, "scripted-model"])
    print(f"This installs CRDs and the chart into the cluster of context {context!r} and uses namespaces {namespaces}.")
    if not sys.stdin.isatty():
        raise DevclusterError("Nobody is there to be asked whether to go on: run it in a terminal.")
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        return 1
    references = {name: f"{repository}/{name}:{tag}" for name in project.DOCKERFILES}
    _show(kubeconfig, references, install.SMALL)
    print(f"\nEnd it:\n  kubectl delete namespace {' '.join([*scene.SESSIONS, 'scripted-model'])}")
    print(f"  helm uninstall {install.RELEASE} --namespace {install.NAMESPACE}")
    return 0


def _refuse_to_replace(kubeconfig: Path) -> None:
    """An installation that the demonstration did not make has tenants that its values would remove."""
    releases = install.helm(kubeconfig, "list", "--short").split()
    ours = kubectl(kubeconfig, "get", "namespace", scene.TEAM_A, "--ignore-not-found", "--output", "name")
    if install.RELEASE in releases and not ours:
        raise DevclusterError(
            f"Release {install.RELEASE} is installed already, and not by this demonstration, which would replace its "
            "values: apply manifests/examples to one of its tenants' namespaces instead."
        )


def _down() -> int:
    with progress.step("stopping the cluster"):
        cluster.down(settings.state_dir())
    return 0


def _show(kubeconfig: Path, references: dict[str, str], values: dict[str, object]) -> None:
    provider = _provider(kubeconfig, references["scripted"])
    with progress.step("tenants' namespaces and Secrets: applying"):
        for namespace in scene.SESSIONS:
            scene.give_secret(kubeconfig, namespace, provider)
    wanted = install.image_values(references["operator"], references["runner"])
    install.install(kubeconfig, install.merge(values, wanted, scene.tenants(provider)))
    with progress.step("sessions: applying"):
        scene.forget_sessions(kubeconfig)
        for namespace, names in scene.SESSIONS.items():
            for name in names:
                scene.apply_example(kubeconfig, namespace, name)
    progress.say("following the sessions")
    follow(kubeconfig, _first_answers, SECONDS)
    scene.say_more(kubeconfig, scene.TEAM_A, "conversation", "more", "Describe it in two words.")
    progress.say(f"a follow-up was appended to {CONVERSATION}")
    final = follow(kubeconfig, lambda now: _turns(now, CONVERSATION) >= 2, SECONDS)
    print()
    print(kubectl(kubeconfig, "get", "agentsessions", "-A"), end="")
    print()
    for name, session in final.items():
        print(f"{name}: {_words(session)}")


def _provider(kubeconfig: Path, scripted_image: str) -> scene.Provider:
    key = os.environ.get("ANTHROPIC_API_KEY")
    if key:
        progress.say("the real API is used: this costs a few cents")
        return scene.Provider(scene.REAL_API, scene.REAL_HOST, key)
    with progress.step("scripted model: starting"):
        scene.start_scripted_model(kubeconfig, scripted_image)
    return scene.Provider(scene.SCRIPTED_API, scene.SCRIPTED_HOST, "demo-key-of-the-scripted-model")


def _first_answers(now: dict[str, Session]) -> bool:
    ended = all(now[name].status.phase in ("Succeeded", "Failed") for name in (ANSWER, TOOL))
    return ended and _turns(now, CONVERSATION) >= 1 and now[WRONG].ready.reason != "Unknown"


def _turns(now: dict[str, Session], name: str) -> int:
    return now[name].status.turns_completed


def _words(session: Session) -> str:
    if session.status.result is not None and session.status.result.text:
        return session.status.result.text
    return f"{session.ready.reason}: {session.ready.message}"


if __name__ == "__main__":
    sys.exit(main())
