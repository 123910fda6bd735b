"""The command line: ``python -m devcluster``."""

import argparse
import signal
import sys

from devcluster import binaries, cluster, controlplane, images, layout, progress, project, settings
from devcluster.errors import DevclusterError


def main() -> int:
    """Runs one subcommand; 1 means that it failed or that the cluster is not healthy."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as on Ctrl-C, cleaning up
    try:
        return int(arguments.run(arguments))
    except DevclusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devcluster",
        description="A real Kubernetes on this machine, built from package registries.",
        epilog="The cluster lives in $DEVCLUSTER_STATE (default: agentsession/cluster in the cache folder). "
        "Set DEVCLUSTER_<PROGRAM>, such as DEVCLUSTER_KUBELET, to use a program of your own.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    up = command("up", _up, "Start the cluster, or repair it; ends when it is ready.")
    up.add_argument("--control-plane", action="store_true", help="no node: API server and controllers only")
    command("down", _down, "Stop everything and remove what it left in the system; logs stay.")
    command("status", _status, "Show each component, its pid, its health and its log.")
    command("kubeconfig", _kubeconfig, "Print the path of the administrator's kubeconfig.")
    build = command("images", _images, "Build the project's images, import them if a node runs, print their names.")
    build.add_argument("name", nargs="*", choices=[[], *project.DOCKERFILES], help="which; default: all")
    binary = command("binary", _binary, "Print the paths of programs, building them if needed.")
    binary.add_argument("name", nargs="+", choices=binaries.CATALOGUE, help="such as helm")
    return parser


def _up(arguments: argparse.Namespace) -> int:
    state = settings.state_dir()
    made = controlplane.start(state) if arguments.control_plane else cluster.up(state)
    progress.say("ready")
    print(f"export KUBECONFIG={made.kubeconfig}")
    return 0


def _down(_: argparse.Namespace) -> int:
    with progress.step("stopping the cluster"):
        cluster.down(settings.state_dir())
    return 0


def _status(_: argparse.Namespace) -> int:
    found = cluster.status(settings.state_dir())
    if not found:
        print(f"no cluster in {settings.state_dir()}")
    for health in found:
        state = "healthy" if health.healthy else "not healthy" if health.pid else "not running"
        print(f"{health.name:24} {health.pid or '-':>8}  {state:12} {health.log}")
    return 0 if found and all(health.healthy for health in found) else 1


def _kubeconfig(_: argparse.Namespace) -> int:
    made = layout.load(settings.state_dir())
    if made is None:
        raise DevclusterError("There is no cluster; start it: python -m devcluster up")
    print(made.kubeconfig)
    return 0


def _images(arguments: argparse.Namespace) -> int:
    built = project.build(arguments.name or project.DOCKERFILES)
    if (settings.RUN_DIR / "containerd.sock").exists():
        for image in built.values():
            images.load(image)
    for name, image in built.items():
        print(name, image.reference)
    return 0


def _binary(arguments: argparse.Namespace) -> int:
    for path in binaries.resolve(arguments.name).values():
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
