"""What the tests lean on: a faulty server, a real nginx, the command in a sandbox."""
