"""The fork server without the product, which would take seconds to load: `children.py` needs nothing of it."""

from orchestrator.supervisor.fork_server import main

if __name__ == "__main__":
    main(lambda: None)
