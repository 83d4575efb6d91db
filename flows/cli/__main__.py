"""``python -m flows.cli``: the same as ``limelight``."""

from flows.cli.app import main

main()
