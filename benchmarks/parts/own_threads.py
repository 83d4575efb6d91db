"""Imported before torch: its threads wait as they do in the commands of `limelight`."""

from infra.threads import yielding_threads

yielding_threads()
