"""The ``limelight`` command.

Exit codes:
    0  done (clips that a stage turned down are no error)
    1  failed for another reason
    2  wrong usage: an unknown name, key or value
    3  the lake is full, read-only or no lake
    4  a weight is missing or damaged
    5  the engine or a server cannot do what is asked
    6  the build ended, but clips failed or were quarantined
    7  verification found damage
    130  interrupted
"""

from flows.cli.app import main

__all__ = ["main"]
