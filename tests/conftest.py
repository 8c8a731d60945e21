"""What every test shares."""

pytest_plugins = ["tests.peer_marks"]
