"""One image, several processes: `python -m agentsession operator|egress`."""

import argparse
import resource
from pathlib import Path

from pydantic import ValidationError
from yaml import YAMLError

from agentsession.api.base import spec_errors
from agentsession.api.installation import Installation


def main() -> None:
    """Parse the command line and run one process until it is told to stop."""
    parser = argparse.ArgumentParser(prog="agentsession", description=__doc__)
    parser.add_argument("process", choices=["operator", "egress"], help="which part of the installation to run")
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/agentsession/installation.yaml"),
        help="what the installer decided, as the chart renders it (default: %(default)s)",
    )
    parser.add_argument(
        "--http-port",
        type=int,
        default=8081,
        help="of the operator's health, readiness and metrics (default: 8081); the egress plane's are in its file",
    )
    arguments = parser.parse_args()
    _open_many_files()
    try:
        install = Installation.load(arguments.config)
    except ValidationError as error:
        parser.error(f"--config {arguments.config}: {spec_errors(error)}")
    except (OSError, ValueError, YAMLError) as error:
        parser.error(f"--config {arguments.config}: {error}")
    if arguments.process == "operator":
        from agentsession import main as operator  # noqa: PLC0415  each process imports only what it needs

        operator.main(install, arguments.http_port)
    else:
        from agentsession.egress import process  # noqa: PLC0415

        process.main(install)


def _open_many_files() -> None:
    """Raise the soft limit, often 1024, to the hard one: each runner and each model request holds connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
