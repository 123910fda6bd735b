"""One image, several processes: `python -m agentsession operator|egress`."""

import argparse
from pathlib import Path


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
    arguments = parser.parse_args()
    if arguments.process == "operator":
        from agentsession import main as operator  # noqa: PLC0415  each process imports only what it needs

        operator.main(arguments.config)
    else:
        from agentsession.egress import process  # noqa: PLC0415

        process.main(arguments.config)


if __name__ == "__main__":
    main()
