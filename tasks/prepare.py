"""The last step of the set-up: what a first run would otherwise make while somebody waits."""

from __future__ import annotations

from tasks import prefect_server, register


def main() -> None:
    """Make the templates of Prefect's and MLflow's databases, where they are missing."""
    prefect_server.prepare()
    register.prepare()


if __name__ == "__main__":
    main()
